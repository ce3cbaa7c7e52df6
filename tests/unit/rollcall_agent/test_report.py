"""Each report names its job, attempt and worker."""

import pytest

from rollcall_agent.job.diagnose import diagnose
from rollcall_agent.report import Reporter
from shared.contracts.events import AgentReported, Step
from tests.unit.agent.agent_fakes import FACTS, ListedOutbox, an_order


def reported(step: Step) -> AgentReported:
    outbox = ListedOutbox()
    reporter = Reporter(order=an_order(), facts=FACTS, outbox=outbox)
    if step is Step.ERROR:
        reporter.error(diagnose(ValueError("broken")))
    else:
        reporter.step(step)
    [report] = outbox.events
    assert isinstance(report, AgentReported)
    return report


@pytest.mark.parametrize("step", sorted(set(Step) - {Step.REJECTED}))
def test_a_report_names_the_agent_in_the_room(step: Step) -> None:
    assert reported(step).participant_identity == FACTS.identity


def test_a_job_that_is_turned_down_has_no_agent() -> None:
    assert reported(Step.REJECTED).participant_identity is None
