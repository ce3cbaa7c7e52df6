"""The way over the API, against a real WebSocket server: what is asked, and what happens when it fails."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from rollcall_agent.api import backend as backend_module
from rollcall_agent.api import link as link_module
from rollcall_agent.api.backend import ApiBackend
from rollcall_agent.api.link import Link
from rollcall_agent.job.publish import Publisher
from rollcall_agent.ports import ApiUnreachable, CallRefused
from shared.contracts.agent_calls import JOB_PATH, MAX_ENVELOPES, WORKER_PATH, OfAttempt, Publish, RefusalCode
from shared.contracts.dispatching import PastTurn
from shared.contracts.events import Envelope, TurnFinished, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import REPORTS_STREAM, TURNS_STREAM
from shared.contracts.sessions import Role
from shared.contracts.text import MAX_EVENT_BYTES
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder
from shared.platform.clock import utc_now
from shared.platform.redis.streams import UNREACHABLE
from tests.stack_fixtures.waiting import eventually
from tests.support.agent_api import CUT, SILENT, AgentApi, agent_api
from tests.unit.agent.agent_fakes import SESSION

OTHER = SessionId("0190c1f2-0000-7000-8000-000000000002")
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with agent_api() as served:
        yield served


@pytest.fixture
async def worker(api: AgentApi) -> AsyncIterator[ApiBackend]:
    async for backend in _backend(api.url + WORKER_PATH, presents=True):
        yield backend


@pytest.fixture
async def job(api: AgentApi) -> AsyncIterator[ApiBackend]:
    async for backend in _backend(api.url + JOB_PATH, presents=False):
        yield backend


async def _backend(url: str, *, presents: bool) -> AsyncIterator[ApiBackend]:
    link = Link(url, bearer=lambda: "a-bearer")
    link.start()
    backend = ApiBackend(link, presents=presents)
    yield backend
    await backend.aclose()


def a_turn(seq: int = 1, *, session_id: SessionId = SESSION, text: str = "Hello") -> Envelope:
    turn = TurnFinished(
        session_id=session_id,
        attempt=1,
        seq=seq,
        item_id=f"item_{seq}",
        role=Role.USER,
        kind="message",
        text=text,
        created_at=AT,
    )
    return wrap(turn, session_id=session_id, source="test", time=utc_now())


def a_heartbeat(*sessions: str) -> WorkerHeartbeat:
    return WorkerHeartbeat(
        worker_id="AW_1",
        agent_name="shop",
        host="h",
        pid=1,
        version="1",
        livekit_url="ws://l",
        load=0,
        active_jobs=0,
        max_jobs=1,
        started_at=AT,
        beat_at=AT,
        sessions=list(sessions),
    )


async def test_every_call_about_an_attempt_brings_back_what_was_answered(
    api: AgentApi, job: ApiBackend
) -> None:
    attempt = job.attempt(SESSION, 1, "a-credential")
    past = PastTurn(item_id="item_1", kind="message", role=Role.USER, text="Hello", created_at=AT)
    api.answers = {
        "read_fence": "1",
        "take_attempt": True,
        "read_history": [past.model_dump(mode="json")],
        "read_stored": base64.b64encode(b"\xa0").decode(),
        "is_erased": True,
    }
    assert await attempt.read_fence() == "1"
    assert await attempt.take("AJ_1")
    assert await attempt.read_history() == [past]
    stored = await attempt.read_stored(None)
    assert (stored.has(0), stored.has(1), stored.has(2)) == (True, False, True)
    assert await attempt.is_erased()
    await attempt.beat("AJ_1", 1)
    await attempt.show([a_turn()])
    await attempt.forget()
    api.answers = {"take_attempt": False}
    assert not await attempt.take("AJ_2")
    assert await attempt.read_fence() is None
    assert await attempt.read_history() is None
    asked = [call for call in api.calls[0] if isinstance(call, OfAttempt)]
    assert {(call.session_id, call.attempt) for call in asked} == {(SESSION, 1)}
    assert len(asked) == len(api.calls[0]) == 11


async def test_a_workers_calls_bring_back_its_orders(api: AgentApi, worker: ApiBackend) -> None:
    api.answers = {"beat_worker": "cordon", "read_order": "an order of a later version"}
    assert await worker.beat_worker(a_heartbeat()) is WorkerOrder.CORDON
    assert await worker.read_order("AW_0") is None
    await worker.remove_worker("AW_1")
    assert api.called == ["beat_worker", "read_order", "remove_worker"]


async def test_a_refusal_is_told_apart_from_a_failure(api: AgentApi, job: ApiBackend) -> None:
    attempt = job.attempt(SESSION, 1, "a-credential")
    api.refuse("read_history", RefusalCode.OVER)
    with pytest.raises(CallRefused) as refused:
        await attempt.read_history()
    assert refused.value.is_over
    assert not isinstance(refused.value, UNREACHABLE)
    api.refuse("read_history", RefusalCode.UNAVAILABLE)
    with pytest.raises(ApiUnreachable) as unreachable:
        await attempt.read_history()
    assert isinstance(unreachable.value, UNREACHABLE)


async def test_a_call_waits_for_the_handshake_that_is_under_way(api: AgentApi, job: ApiBackend) -> None:
    api.open.clear()
    asking = asyncio.create_task(job.attempt(SESSION, 1, "a-credential").read_fence())
    await eventually(lambda: len(api.handshakes) == 1)
    assert not asking.done()
    api.answers = {"read_fence": "1"}
    api.open.set()
    assert await asking == "1"


async def test_calls_that_wait_fail_with_their_connection_and_the_next_one_takes_over(
    api: AgentApi, job: ApiBackend
) -> None:
    attempt = job.attempt(SESSION, 1, "a-credential")
    api.answers = {"read_fence": SILENT, "is_erased": CUT}
    failed = await asyncio.gather(attempt.read_fence(), attempt.is_erased(), return_exceptions=True)
    assert [type(error) for error in failed] == [ApiUnreachable, ApiUnreachable]
    with pytest.raises(ApiUnreachable):  # it is told at once, and nobody waits
        await attempt.read_fence()
    api.answers = {"read_fence": "2"}

    async def answered() -> bool:
        try:
            return await attempt.read_fence() == "2"
        except ApiUnreachable:
            return False

    await eventually(answered)
    assert len(api.calls) == 2


async def test_an_answer_that_cannot_be_read_is_told_once_and_costs_only_its_call(
    api: AgentApi, job: ApiBackend
) -> None:
    attempt = job.attempt(SESSION, 1, "a-credential")
    assert not await attempt.is_erased()
    with capture_logs() as logs:
        for _ in range(3):
            await api.sockets[0].send_str('{"id": "no number"}')
        assert not await attempt.is_erased()
    assert [line["event"] for line in logs] == ["api_answer_unreadable"]


async def test_a_connection_without_answers_is_given_up(
    api: AgentApi, job: ApiBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "CALL_S", 0.2)
    api.answers = {"read_fence": SILENT}
    attempt = job.attempt(SESSION, 1, "a-credential")
    with pytest.raises(ApiUnreachable):
        await attempt.read_fence()
    await eventually(lambda: len(api.calls) == 2)


async def test_who_waits_less_long_does_not_cost_others_the_connection(
    api: AgentApi, job: ApiBackend
) -> None:
    api.answers = {"read_fence": SILENT}
    attempt = job.attempt(SESSION, 1, "a-credential")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await attempt.read_fence()
    assert not await attempt.is_erased()
    assert len(api.calls) == 1


async def test_a_credential_is_shown_once_on_each_connection_before_the_first_call(
    api: AgentApi, worker: ApiBackend
) -> None:
    attempt = worker.attempt(SESSION, 1, "a-credential")
    await attempt.read_fence()
    await attempt.is_erased()
    assert api.called == ["present", "read_fence", "is_erased"]
    await api.sockets[0].close()
    await eventually(lambda: len(api.calls) == 2)
    await worker.beat_worker(a_heartbeat(SESSION, OTHER))
    await attempt.read_fence()
    assert api.called == ["present", "beat_worker", "read_fence"]


async def test_a_credential_that_was_not_taken_is_shown_again(api: AgentApi, worker: ApiBackend) -> None:
    attempt = worker.attempt(SESSION, 1, "a-credential")
    api.refuse("present", RefusalCode.UNAVAILABLE)
    await attempt.read_fence()
    await attempt.read_fence()
    assert api.called == ["present", "read_fence"] * 2


async def test_a_job_shows_its_credential_in_the_handshake_alone(api: AgentApi, job: ApiBackend) -> None:
    await job.attempt(SESSION, 1, "a-credential").read_fence()
    assert api.called == ["read_fence"]
    assert api.handshakes[0]["Authorization"] == "Bearer a-bearer"


async def test_without_a_credential_every_call_is_refused_and_that_is_told_once(
    api: AgentApi, worker: ApiBackend
) -> None:
    with capture_logs() as logs:
        for session_id in (SESSION, OTHER):
            with pytest.raises(CallRefused):
                await worker.attempt(session_id, 1, None).read_fence()
    assert [line["event"] for line in logs].count("credential_missing") == 1
    with pytest.raises(CallRefused):
        await worker.publish(TURNS_STREAM, [a_turn()])
    worker.attempt(SESSION, 1, "a-credential")
    await worker.attempt(SESSION, 1, None).read_fence()  # it is known from before


async def test_the_credentials_of_attempts_that_are_over_are_forgotten_and_those_of_running_jobs_stay(
    api: AgentApi, worker: ApiBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "MAX_CREDENTIALS", 2)
    worker.attempt(SESSION, 1, "first")
    worker.attempt(OTHER, 1, "second")
    await worker.beat_worker(a_heartbeat(SESSION))
    worker.attempt(OTHER, 2, "third")
    await worker.attempt(SESSION, 1, None).read_fence()
    with pytest.raises(CallRefused):
        await worker.attempt(OTHER, 1, None).read_fence()


async def test_events_go_in_order_in_frames_of_one_attempt(api: AgentApi, worker: ApiBackend) -> None:
    for session_id in (SESSION, OTHER):
        worker.attempt(session_id, 1, f"credential of {session_id}")
    mixed = [a_turn(n, session_id=OTHER if n % 3 == 0 else SESSION) for n in range(2 * MAX_ENVELOPES)]
    await worker.publish(TURNS_STREAM, mixed)
    calls = [call for call in api.calls[0] if isinstance(call, Publish)]
    assert {call.stream for call in calls} == {"turns"}
    assert all(len(call.envelopes) <= MAX_ENVELOPES for call in calls)
    for session_id in (SESSION, OTHER):
        sent = [e for call in calls if call.session_id == session_id for e in call.envelopes]
        assert sent == [envelope for envelope in mixed if envelope.session_id == session_id]


async def test_long_events_are_split_so_that_every_frame_fits(api: AgentApi, job: ApiBackend) -> None:
    job.attempt(SESSION, 1, "a-credential")
    # In JSON, each takes six bytes for one of its text.
    long = [a_turn(n, text="\x01" * (100 * 1024)) for n in range(5)]
    assert all(len(turn.model_dump_json()) < MAX_EVENT_BYTES for turn in long)
    await job.publish(TURNS_STREAM, long)
    assert [call.envelopes for call in api.calls[0] if isinstance(call, Publish)] == [[turn] for turn in long]


async def test_an_event_that_no_frame_holds_is_given_up_alone(api: AgentApi, job: ApiBackend) -> None:
    job.attempt(SESSION, 1, "a-credential")
    publisher = Publisher(job)
    publisher.start()
    good = [a_turn(n) for n in range(3)]
    big: dict[str, Any] = {**good[1].data, "text": "x" * 2 * MAX_EVENT_BYTES}
    with capture_logs() as logs:
        for envelope in (good[0], good[1].model_copy(update={"data": big}), good[2]):
            publisher.offer(TURNS_STREAM, envelope)
        assert await publisher.flush(within_s=10)
    await publisher.aclose(flush_s=0)
    sent = {e.data["seq"] for call in api.calls[0] if isinstance(call, Publish) for e in call.envelopes}
    assert sent == {0, 2}
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["event_dropped"]


async def test_a_publisher_loses_nothing_while_the_api_restarts(api: AgentApi, job: ApiBackend) -> None:
    job.attempt(SESSION, 1, "a-credential")
    publisher = Publisher(job)
    publisher.start()
    publisher.offer(REPORTS_STREAM, a_turn(1))
    assert await publisher.flush(within_s=10)
    api.status = 503
    await api.sockets[0].close()
    publisher.offer(TURNS_STREAM, a_turn(2))
    publisher.offer(TURNS_STREAM, a_turn(3))
    await eventually(lambda: len(api.handshakes) >= 3)
    api.status = None
    assert await publisher.flush(within_s=30)
    await publisher.aclose(flush_s=0)
    sent = [e.data["seq"] for call in api.calls[1] if isinstance(call, Publish) for e in call.envelopes]
    assert sent == [2, 3]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_handshake_says_once_what_to_do_and_is_tried_again(
    api: AgentApi, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(link_module, "REFUSED_PAUSE_S", 0.02)
    api.status = status
    link = Link(api.url + WORKER_PATH, bearer=lambda: "a-secret-key")
    backend = ApiBackend(link, presents=True)
    with capture_logs() as logs:
        link.start()
        await eventually(lambda: len(api.handshakes) > 3)
        api.status = None
        await eventually(lambda: len(api.calls) == 1)
    await backend.aclose()
    [refused] = [line for line in logs if line["log_level"] == "error"]
    assert (refused["event"], refused["error"]) == ("api_refused", f"HTTP {status}")
    assert len(refused["advice"]) > 20
    assert "a-secret-key" not in str(logs)


async def test_what_proves_a_worker_is_made_anew_for_each_connection(api: AgentApi) -> None:
    tokens = iter(["first", "second"])
    link = Link(api.url + WORKER_PATH, bearer=lambda: next(tokens))
    link.start()
    await eventually(lambda: len(api.sockets) == 1)
    await api.sockets[0].close()
    await eventually(lambda: len(api.sockets) == 2)
    await link.aclose()
    assert [shake["Authorization"] for shake in api.handshakes] == ["Bearer first", "Bearer second"]
