"""Which jobs an agent worker takes, and what it reports of its answers."""

import asyncio

import pytest
from livekit.agents import AssignmentTimeoutError

from rollcall_agent.job.fence import BackendFences
from rollcall_agent.worker.admit import Admission, MalformedOrder, read_order, reported_load
from services.agent.qualification import ModelQualification
from shared.contracts.causes import Cause
from shared.contracts.events import AgentError, AgentReported, Step
from shared.contracts.keys import FENCE_CLOSED, ORDER_ATTRIBUTE
from shared.contracts.models import Models
from shared.contracts.profiles import Profile
from shared.contracts.sessions import Mode
from shared.contracts.workers import WorkerFault
from shared.core.workers.fence import is_behind
from shared.platform.clock import utc_now
from tests.unit.agent.agent_fakes import (
    ALL_MODELS,
    SESSION,
    FakeEndpoint,
    FakeWorker,
    ListedOutbox,
    Offer,
    a_job,
    a_running_job,
    an_order,
)
from tests.unit.rollcall_agent.fake_backend import FakeBackend, away


def admission(
    *,
    worker: FakeWorker | None = None,
    max_jobs: int = 10,
    backend: FakeBackend | None = None,
    defaults: Models = ALL_MODELS,
    endpoint: FakeEndpoint | None = None,
    cordoned: bool = False,
    addresses: dict[str, str] | None = None,
) -> tuple[Admission, ListedOutbox]:
    outbox = ListedOutbox()
    admission = Admission(
        worker=worker or FakeWorker(),
        max_jobs=max_jobs,
        fences=BackendFences(backend or FakeBackend()),
        outbox=outbox,
        qualification=ModelQualification(defaults=defaults, endpoint=endpoint or FakeEndpoint()),
        cordoned=lambda: cordoned,
        came_by=(addresses or {}).get,
        meet=lambda order: None,
    )
    return admission, outbox


def reason_of_refusal(outbox: ListedOutbox) -> AgentError:
    [report] = outbox.events
    assert isinstance(report, AgentReported)
    assert report.step is Step.REJECTED
    assert report.error is not None
    return report.error


def steps(outbox: ListedOutbox) -> list[tuple[Step, str | None]]:
    return [(event.step, event.reason) for event in outbox.events if isinstance(event, AgentReported)]


async def test_a_job_of_rollcall_is_accepted_with_the_attributes_of_its_attempt_only() -> None:
    admit, outbox = admission()
    offer = Offer(a_job(an_order(attempt=2)))
    await admit.answer(offer.request)
    assert offer.accepted is not None
    assert offer.accepted.attributes == {"rollcall.session": SESSION, "rollcall.attempt": "2"}
    assert offer.accepted.metadata == ""
    assert steps(outbox) == [(Step.ACCEPTED, None)]
    assert outbox.offered[0][0] == "rollcall:reports"
    report = outbox.events[0]
    assert isinstance(report, AgentReported)
    assert report.participant_identity == "agent-AJ_1"


async def test_a_job_of_somebody_else_is_served_without_reports() -> None:
    admit, outbox = admission()
    offer = Offer(a_job(metadata="any text"))
    await admit.answer(offer.request)
    assert offer.accepted is not None
    assert offer.accepted.attributes is None
    assert outbox.offered == []


async def test_an_agent_shows_the_room_nothing_of_its_order() -> None:
    admit, _ = admission()
    offer = Offer(a_job(an_order(instructions="a secret"), metadata="theirs"))
    await admit.answer(offer.request)
    assert offer.accepted is not None
    assert offer.accepted.attributes == an_order().attributes()
    assert offer.accepted.metadata == ""


@pytest.mark.parametrize("fence", ["2", FENCE_CLOSED])
async def test_a_late_attempt_is_rejected_for_good(fence: str) -> None:
    admit, outbox = admission(backend=FakeBackend({SESSION: fence}))
    offer = Offer(a_job(an_order(attempt=1)))
    await admit.answer(offer.request)
    assert offer.accepted is None
    assert offer.rejected_for_all is True
    assert steps(outbox) == [(Step.REJECTED, "late")]


@pytest.mark.parametrize("backend", [FakeBackend(), away(), FakeBackend({SESSION: "1"})])
async def test_a_fence_that_is_absent_unreadable_or_ours_keeps_nobody_out(backend: FakeBackend) -> None:
    admit, outbox = admission(backend=backend)
    offer = Offer(a_job(an_order(attempt=1)))
    await admit.answer(offer.request)
    assert offer.accepted is not None
    assert steps(outbox) == [(Step.ACCEPTED, None)]


async def test_a_second_job_of_one_attempt_stays_out_and_reports_nothing() -> None:
    backend = FakeBackend({SESSION: "1"})
    first, first_says = admission(backend=backend)
    second, second_says = admission(backend=backend)
    taken = Offer(a_job(an_order(), job_id="AJ_1"))
    relaunched = Offer(a_job(an_order(), job_id="AJ_2"))
    await first.answer(taken.request)
    await second.answer(relaunched.request)
    assert taken.accepted is not None
    assert (relaunched.accepted, relaunched.rejected_for_all) == (None, True)
    assert steps(first_says) == [(Step.ACCEPTED, None)]
    assert second_says.offered == []


async def test_a_cordoned_worker_leaves_every_job_to_the_others() -> None:
    admit, outbox = admission(cordoned=True)
    offer = Offer(a_job(an_order()))
    await admit.answer(offer.request)
    assert (offer.accepted, offer.rejected_for_all) == (None, False)
    assert steps(outbox) == [(Step.REJECTED, "cordoned")]
    assert admit.load() == reported_load(10, 10), "LiveKit offers it a job after all others"


async def test_a_job_that_is_offered_again_is_the_same_job() -> None:
    backend = FakeBackend()
    failed, _ = admission(backend=backend)
    await failed.answer(Offer(a_job(an_order()), failure=AssignmentTimeoutError()).request)
    next_worker, _ = admission(backend=backend)
    again = Offer(a_job(an_order()))
    await next_worker.answer(again.request)
    assert again.accepted is not None


async def test_the_next_attempt_is_not_kept_out_by_the_job_of_the_one_before() -> None:
    backend = FakeBackend()
    admit, _ = admission(backend=backend)
    await admit.answer(Offer(a_job(an_order(1), job_id="AJ_1")).request)
    following = Offer(a_job(an_order(2), job_id="AJ_2"))
    await admit.answer(following.request)
    assert following.accepted is not None


async def test_a_frozen_rollcall_costs_an_agent_a_moment_only() -> None:
    async with asyncio.timeout(5):
        fences = BackendFences(FakeBackend(frozen=True))
        assert not await fences.is_late(an_order())
        assert not await fences.is_second(an_order(), "AJ_1")


@pytest.mark.parametrize("fence", ["", "x", "-2", "1.5", "²"])
def test_a_fence_that_makes_no_sense_keeps_nobody_out(fence: str) -> None:
    assert not is_behind(fence, 1)


async def test_a_full_worker_passes_a_job_on_to_the_next() -> None:
    admit, outbox = admission(worker=FakeWorker(active_jobs=[a_running_job("AJ_0")]), max_jobs=1)
    offer = Offer(a_job(an_order()))
    await admit.answer(offer.request)
    assert offer.rejected_for_all is False
    assert steps(outbox) == [(Step.REJECTED, "full")]


async def test_a_burst_never_gets_more_jobs_than_the_maximum() -> None:
    admit, _ = admission(max_jobs=2)
    started = asyncio.Event()
    offers = [Offer(a_job(an_order(n), job_id=f"AJ_{n}"), accepting=started) for n in range(4)]
    answers = [asyncio.create_task(admit.answer(offer.request)) for offer in offers]
    await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    assert admit.active_jobs == 2
    started.set()
    await asyncio.gather(*answers)
    assert [offer.accepted is not None for offer in offers] == [True, True, False, False]
    assert admit.active_jobs == 0  # only the worker knows whether they run now


async def test_a_job_that_is_starting_is_counted_once() -> None:
    worker = FakeWorker()
    admit, _ = admission(worker=worker)
    started = asyncio.Event()
    offer = Offer(a_job(an_order()), accepting=started)
    answer = asyncio.create_task(admit.answer(offer.request))
    await offer.accept_called.wait()
    worker.active_jobs.append(a_running_job("AJ_1"))
    assert admit.active_jobs == 1
    started.set()
    await answer


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (AssignmentTimeoutError(), Cause.ASSIGNMENT_TIMEOUT),
        (RuntimeError("no process became available after 3 attempts"), Cause.JOB_NOT_STARTED),
    ],
)
async def test_a_job_that_was_taken_and_does_not_start_is_reported_for_what_it_is(
    failure: Exception, cause: Cause
) -> None:
    admit, outbox = admission()
    await admit.answer(Offer(a_job(an_order()), failure=failure).request)
    error = outbox.events[-1]
    assert isinstance(error, AgentReported)
    assert error.error is not None
    assert (error.step, error.error.cause) == (Step.ERROR, cause)
    assert admit.active_jobs == 0
    assert admit.sessions == ()


async def test_an_order_that_cannot_be_read_is_left_to_a_worker_of_another_version() -> None:
    job = a_job(an_order())
    job.attributes[ORDER_ATTRIBUTE] = "of another version"
    with pytest.raises(MalformedOrder):
        read_order(job)
    admit, _ = admission()
    offer = Offer(job)
    await admit.answer(offer.request)
    assert offer.rejected_for_all is False


def test_the_reported_load_grows_and_stays_below_what_makes_livekit_drop_jobs() -> None:
    loads = [reported_load(active, 10) for active in range(12)]
    assert loads == sorted(loads)
    assert loads[0] == 0
    assert loads[10] == loads[11] < 0.7


async def test_a_session_counts_from_its_acceptance_to_the_end_of_its_job() -> None:
    worker = FakeWorker()
    admit, _ = admission(worker=worker)
    started = asyncio.Event()
    offer = Offer(a_job(an_order()), accepting=started)
    answer = asyncio.create_task(admit.answer(offer.request))
    await offer.accept_called.wait()
    assert admit.sessions == (SESSION,)
    worker.active_jobs.append(a_running_job("AJ_1"))
    started.set()
    await answer
    assert admit.sessions == (SESSION,)
    worker.active_jobs.clear()
    assert list(admit.sessions) == []


async def test_a_job_that_is_turned_down_or_is_nobodys_is_no_session_of_the_worker() -> None:
    worker = FakeWorker(active_jobs=[a_running_job("AJ_1"), a_running_job("AJ_2")])
    admit, _ = admission(worker=worker, backend=FakeBackend({SESSION: FENCE_CLOSED}))
    await admit.answer(Offer(a_job(an_order())).request)
    await admit.answer(Offer(a_job(metadata="any text", job_id="AJ_2")).request)
    assert admit.sessions == ()


@pytest.mark.parametrize("missing", ["stt", "llm", "tts"])
async def test_a_pipeline_without_one_of_its_models_is_refused_for_good(missing: str) -> None:
    admit, outbox = admission(defaults=ALL_MODELS.model_copy(update={missing: None}))
    offer = Offer(a_job(an_order()))
    await admit.answer(offer.request)
    assert offer.rejected_for_all is True
    error = reason_of_refusal(outbox)
    assert (error.cause, error.descriptor, error.recoverable) == (Cause.MODEL_MISCONFIGURED, missing, False)
    assert f"AGENT_{missing.upper()}" in error.message


async def test_a_session_may_bring_the_model_that_the_worker_lacks() -> None:
    admit, _ = admission(defaults=ALL_MODELS.model_copy(update={"stt": None}))
    offer = Offer(a_job(an_order(models=Models(stt="deepgram/nova-3"))))
    await admit.answer(offer.request)
    assert offer.accepted is not None


async def test_each_mode_needs_its_own_models_only() -> None:
    admit, outbox = admission(defaults=Models(realtime="openai/gpt-realtime"))
    speaking = Offer(a_job(an_order(mode=Mode.REALTIME)))
    await admit.answer(speaking.request)
    assert speaking.accepted is not None
    admit, outbox = admission(defaults=ALL_MODELS.model_copy(update={"realtime": None}))
    mute = Offer(a_job(an_order(mode=Mode.REALTIME)))
    await admit.answer(mute.request)
    assert reason_of_refusal(outbox).descriptor == "realtime"


async def test_a_fault_of_the_endpoint_is_reported_and_another_worker_may_try() -> None:
    fault = WorkerFault(cause=Cause.INFERENCE_QUOTA, detail="answers 429", since=utc_now())
    admit, outbox = admission(endpoint=FakeEndpoint(fault=fault))
    offer = Offer(a_job(an_order()))
    await admit.answer(offer.request)
    assert offer.rejected_for_all is False
    error = reason_of_refusal(outbox)
    assert (error.cause, error.message, error.recoverable) == (Cause.INFERENCE_QUOTA, "answers 429", False)
    assert admit.sessions == ()


async def test_a_language_model_that_the_endpoint_surely_lacks_is_refused_for_good() -> None:
    admit, outbox = admission(endpoint=FakeEndpoint(lacking={"openai/gpt-9"}))
    offer = Offer(a_job(an_order(models=Models(llm="openai/gpt-9"))))
    await admit.answer(offer.request)
    assert offer.rejected_for_all is True
    error = reason_of_refusal(outbox)
    assert (error.cause, error.descriptor) == (Cause.MODEL_MISCONFIGURED, "openai/gpt-9")
    # The list is of language models, and a realtime session has none.
    realtime = Offer(a_job(an_order(mode=Mode.REALTIME, models=Models(llm="openai/gpt-9"))))
    await admit.answer(realtime.request)
    assert realtime.accepted is not None


async def test_a_job_that_was_addressed_to_another_worker_is_taken_and_told() -> None:
    admit, outbox = admission(addresses={"AJ_1": "mine"})
    for address, misplaced in (("mine", False), ("another's", True), (None, False)):
        await admit.answer(Offer(a_job(an_order(address=address))).request)
        report = outbox.events[-1]
        assert isinstance(report, AgentReported)
        assert (report.step, report.misplaced) == (Step.ACCEPTED, misplaced)


async def test_a_job_whose_profile_names_a_secret_that_the_worker_lacks_is_turned_down_with_the_name() -> (
    None
):
    server = {"url": "https://x/mcp", "headers": {"Authorization": "Bearer ${AGENT_SECRET_SHOP}"}}
    profile = Profile.model_validate({"mcp_servers": [server]})
    admit, outbox = admission()
    offer = Offer(a_job(an_order(profile=profile, profile_version=3)))
    await admit.answer(offer.request)
    error = reason_of_refusal(outbox)
    assert (error.type, error.cause) == ("ProfileInvalid", Cause.ENTRYPOINT_FAILED)
    assert error.message == (
        "version 3 of the profile needs AGENT_SECRET_SHOP, which the worker's environment lacks"
    )


async def test_a_job_is_judged_by_the_models_of_its_stored_profile() -> None:
    profile = Profile(models=Models(llm="openai/gpt-6"))
    admit, outbox = admission(endpoint=FakeEndpoint(lacking={"openai/gpt-6"}))
    await admit.answer(Offer(a_job(an_order(profile=profile, profile_version=1))).request)
    assert reason_of_refusal(outbox).descriptor == "openai/gpt-6"
