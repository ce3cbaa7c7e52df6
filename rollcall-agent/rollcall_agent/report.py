"""Report the steps of one job on the reports stream."""

from dataclasses import dataclass
from typing import Any

from livekit.agents.job import JobContext, JobRequest

from rollcall_agent import metrics
from rollcall_agent.envelopes import wrap_told
from rollcall_agent.ports import Outbox
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentError, AgentReported, Step
from shared.contracts.keys import REPORTS_STREAM
from shared.platform.clock import Clock, utc_now
from shared.platform.logs.logs import get_logger
from shared.platform.tracing.tracing import here

log = get_logger(__name__)

# One fault may repeat many times a second; readers need each kind once.
MAX_ERRORS = 20


@dataclass(frozen=True)
class JobFacts:
    """The identity of a job and its worker."""

    job_id: str
    room_name: str
    room_sid: str
    worker_id: str
    agent_name: str
    identity: str  # the agent's identity in the room

    @classmethod
    def of_request(cls, request: JobRequest, *, worker_id: str) -> "JobFacts":
        """Return the facts of an offered job."""
        job = request.job
        return cls(job.id, job.room.name, job.room.sid, worker_id, job.agent_name, f"agent-{job.id}")

    @classmethod
    def of_context(cls, ctx: JobContext) -> "JobFacts":
        """Return the facts of a running job."""
        job = ctx.job
        identity = ctx.local_participant_identity
        return cls(job.id, job.room.name, job.room.sid, ctx.worker_id, job.agent_name, identity)


class Reporter:
    """Reports the steps of one job.

    For a job without an order, which Rollcall did not dispatch, it sends nothing.
    """

    def __init__(
        self, *, order: DispatchOrder | None, facts: JobFacts, outbox: Outbox, clock: Clock = utc_now
    ) -> None:
        self._order = order
        self._facts = facts
        self._outbox = outbox
        self._clock = clock
        self._told: set[Step | AgentError] = set()

    def step(self, step: Step, **details: Any) -> None:
        """Report a step; `details` are more fields of `AgentReported`."""
        if self._order is None:
            return
        try:
            self._offer(self._order, step, details)
        except Exception:  # a report is a hint: a failure to send it must not end a call
            metrics.event_dropped()
            log.exception("report_not_published", step=step.value)

    def _offer(self, order: DispatchOrder, step: Step, details: dict[str, Any]) -> None:
        if step is not Step.REJECTED:  # a rejected job has no participant
            details.setdefault("participant_identity", self._facts.identity)
        event = AgentReported(
            session_id=order.session_id,
            attempt=order.attempt,
            step=step,
            room_name=self._facts.room_name,
            room_sid=self._facts.room_sid or None,
            worker_id=self._facts.worker_id,
            agent_name=self._facts.agent_name,
            job_id=self._facts.job_id,
            **details,
        )
        envelope = wrap_told(event, time=self._clock(), traceparent=here(order.traceparent))
        self._outbox.offer(REPORTS_STREAM, envelope)

    def once(self, step: Step) -> None:
        """Report a step when it is first reached."""
        if step not in self._told:
            self._told.add(step)
            self.step(step)

    def error(self, error: AgentError) -> None:
        """Report an error, unless the same error was reported before."""
        if error not in self._told and len(self._told) < MAX_ERRORS:
            self._told.add(error)
            self.step(Step.ERROR, error=error)
