"""What workers and jobs may ask over their sockets: of their own sessions, and of no others."""

import base64
from typing import Any

import pytest
from redis.asyncio import Redis

from services.api.auth.access import Scope
from shared.contracts.agent_calls import (
    BeatJob,
    BeatWorker,
    Call,
    ForgetJob,
    IsErased,
    Present,
    Publish,
    ReadFence,
    ReadHistory,
    ReadOrder,
    ReadStored,
    RemoveWorker,
    Show,
    TakeAttempt,
)
from shared.contracts.dispatching import PastTurn
from shared.contracts.events import (
    Envelope,
    SessionRequested,
)
from shared.contracts.keys import (
    REPORTS_STREAM,
    TURNS_STREAM,
    captions_channel,
    job_beat_field,
)
from shared.contracts.sessions import Role
from shared.contracts.workers import WorkerOrder
from shared.core.transcripts.erasure import mark_erased
from shared.core.transcripts.watermark import StoredTurns, publish_stored
from shared.core.workers.beats import read_beats
from shared.core.workers.fence import set_fence
from shared.core.workers.history import write_history
from shared.core.workers.orders import give_order
from shared.core.workers.registry import read_fleet
from shared.platform.database.database import Database
from tests.integration.agent_sockets.making import (
    MINE,
    OTHERS,
    PAIR,
    caption,
    published,
    publishing,
    report,
    turn,
    wrapped,
)
from tests.integration.api_client import beat_for_ever
from tests.support.agent_socket import AgentSocket, worker_socket
from tests.support.keys import bare_key
from tests.support.sessions import until
from tests.unit.making import T0, make_heartbeat


async def test_a_job_publishes_its_turns_and_steps_in_order(job: AgentSocket, redis: Redis) -> None:
    turns = [turn(seq=number, item_id=f"item-{number}") for number in (1, 2, 3)]
    await job.ask(publishing(*turns))
    await job.ask(publishing(report(), stream="reports"))
    assert [each.event() for each in await published(redis, TURNS_STREAM)] == turns
    [told] = await published(redis, REPORTS_STREAM)
    assert told.event() == report()
    assert told.source == "rollcall/agent", "whatever the client said"


async def test_a_job_beats_takes_its_attempt_and_leaves(job: AgentSocket, redis: Redis) -> None:
    of: dict[str, Any] = {"session_id": MINE, "attempt": 1}
    assert await job.ask(TakeAttempt(**of, job_id="AJ_1"))
    assert not await job.ask(TakeAttempt(**of, job_id="AJ_2"))
    await job.ask(BeatJob(**of, job_id="AJ_1", count=7))
    field = job_beat_field(MINE, 1)
    beats = await read_beats(redis)
    assert (beats.counts, beats.workers) == ({field: 7}, {field: "worker-1"})
    await job.ask(ForgetJob(**of))
    beats = await read_beats(redis)
    assert (beats.counts, beats.workers) == ({}, {})


async def test_a_job_reads_what_its_attempt_needs(job: AgentSocket, redis: Redis) -> None:
    of: dict[str, Any] = {"session_id": MINE, "attempt": 1}
    assert await job.ask(ReadFence(**of)) is None
    assert await job.ask(ReadHistory(**of)) is None
    said = PastTurn(item_id="i", kind="message", role=Role.USER, text="สวัสดี", created_at=T0)
    await write_history(redis, MINE, [said])
    await set_fence(redis, MINE, 1)
    assert await job.ask(ReadFence(**of)) == "1"
    assert [PastTurn.model_validate(each) for each in await job.ask(ReadHistory(**of))] == [said]
    await publish_stored(redis, [turn(seq=2, job_id="AJ_1")])
    stored = StoredTurns(base64.b64decode(await job.ask(ReadStored(**of, job_id="AJ_1"))))
    assert (stored.has(1), stored.has(2)) == (False, True)
    assert await job.ask(IsErased(**of)) is False
    await mark_erased(redis, [MINE])
    assert await job.ask(IsErased(**of)) is True


async def test_captions_reach_those_who_follow_the_session(job: AgentSocket, redis: Redis) -> None:
    async with redis.pubsub() as following:
        await following.subscribe(captions_channel(MINE))
        await following.get_message(timeout=30)
        await job.ask(Show(session_id=MINE, attempt=1, captions=[wrapped(caption())]))
        message = await following.get_message(ignore_subscribe_messages=True, timeout=30)
    assert message is not None
    assert Envelope.parse(message["data"]).event() == caption()


@pytest.mark.parametrize(
    "call",
    [
        ReadHistory(session_id=OTHERS, attempt=1),
        ReadHistory(session_id=MINE, attempt=2),
        ReadFence(session_id=OTHERS, attempt=1),
        TakeAttempt(session_id=OTHERS, attempt=1, job_id="AJ_1"),
        BeatJob(session_id=MINE, attempt=2, job_id="AJ_1", count=1),
        ForgetJob(session_id=OTHERS, attempt=1),
        ReadStored(session_id=OTHERS, attempt=1, job_id="AJ_1"),
        IsErased(session_id=OTHERS, attempt=1),
        publishing(turn(OTHERS), session_id=OTHERS),
        publishing(turn(OTHERS)),
        publishing(turn(attempt=2)),
        publishing(turn(attempt=2), attempt=2),
        publishing(report(), stream="turns"),
        publishing(turn(), stream="reports"),
        publishing(caption(), stream="turns"),
        publishing(SessionRequested(agent_name="agent", room_name="room", mode="pipeline"), stream="reports"),
        Publish(session_id=MINE, attempt=1, stream="turns", envelopes=[wrapped(turn(), session_id=OTHERS)]),
        Show(session_id=MINE, attempt=1, captions=[wrapped(caption(OTHERS))]),
        Show(session_id=OTHERS, attempt=1, captions=[wrapped(caption(OTHERS), session_id=OTHERS)]),
        Present(credential=PAIR.sign_attempt(OTHERS, 1)),
        BeatWorker(heartbeat=make_heartbeat()),
        ReadOrder(worker_id="worker-1"),
        RemoveWorker(worker_id="worker-1"),
    ],
    ids=lambda call: f"{call.call}-{getattr(call, 'attempt', '')}",
)
async def test_a_job_can_touch_nothing_but_its_own_attempt(
    job: AgentSocket, redis: Redis, call: Call
) -> None:
    assert await job.refusal(call) == "not_yours"
    left = await redis.keys("*")
    assert not left or set(left) <= {"rollcall:limit"}, f"nothing was written: {left}"
    assert await job.ask(ReadFence(session_id=MINE, attempt=1)) is None, "the socket goes on"


async def test_one_bad_event_among_good_ones_publishes_none(job: AgentSocket, redis: Redis) -> None:
    assert await job.refusal(publishing(turn(), turn(OTHERS))) == "not_yours"
    assert await published(redis, TURNS_STREAM) == []


async def test_an_attempt_that_was_replaced_reads_nothing_and_its_late_turns_are_kept(
    job: AgentSocket, redis: Redis
) -> None:
    await set_fence(redis, MINE, 2)
    assert await job.refusal(ReadHistory(session_id=MINE, attempt=1)) == "over"
    await job.ask(publishing(turn()))
    await set_fence(redis, MINE, "closed")
    assert await job.refusal(ReadHistory(session_id=MINE, attempt=1)) == "over"
    await job.ask(publishing(turn(seq=2, item_id="item-2")))
    assert len(await published(redis, TURNS_STREAM)) == 2


async def test_a_worker_beats_is_ordered_and_leaves(worker: AgentSocket, redis: Redis) -> None:
    assert await worker.ask(BeatWorker(heartbeat=make_heartbeat("W_1"))) is None
    await give_order(redis, "W_1", WorkerOrder.CORDON)
    assert await worker.ask(BeatWorker(heartbeat=make_heartbeat("W_1"))) == "cordon"
    assert await worker.ask(ReadOrder(worker_id="W_1")) == "cordon"
    assert [each.worker_id for each in (await read_fleet(redis)).workers] == ["W_1"]
    assert list((await read_beats(redis)).ways) == ["W_1"]
    await worker.ask(RemoveWorker(worker_id="W_1"))
    fleet = await read_fleet(redis)
    assert (fleet.workers, fleet.lost) == ([], [])


async def test_a_worker_with_a_new_id_is_heard_for_the_jobs_of_its_former_one(
    worker: AgentSocket, redis: Redis
) -> None:
    await worker.ask(BeatWorker(heartbeat=make_heartbeat("W_1")))
    before = (await read_beats(redis)).ways["W_1"]
    await worker.ask(BeatWorker(heartbeat=make_heartbeat("W_2")))
    await worker.ask(RemoveWorker(worker_id="W_1"))
    await worker.ask(BeatWorker(heartbeat=make_heartbeat("W_2")))
    ways = (await read_beats(redis)).ways
    assert set(ways) == {"W_1", "W_2"}
    assert ways["W_1"] != before


async def test_a_worker_lists_only_sessions_whose_credential_it_has_shown(
    worker: AgentSocket, redis: Redis
) -> None:
    heartbeat = make_heartbeat("W_1", sessions=[MINE, OTHERS])
    await worker.ask(BeatWorker(heartbeat=heartbeat))
    assert (await read_fleet(redis)).sessions("agent") == set()
    await worker.ask(Present(credential=PAIR.sign_attempt(MINE, 1)))
    await worker.ask(BeatWorker(heartbeat=heartbeat))
    assert (await read_fleet(redis)).sessions("agent") == {MINE}


async def test_a_worker_speaks_of_an_attempt_once_it_has_shown_its_credential(
    worker: AgentSocket, redis: Redis
) -> None:
    resent = publishing(turn())
    assert await worker.refusal(resent) == "not_yours"
    assert await worker.refusal(Present(credential=PAIR.sign_worker())) == "not_yours"
    await worker.ask(Present(credential=PAIR.sign_attempt(MINE, 1)))
    await worker.ask(resent)
    assert await worker.refusal(publishing(turn(attempt=2), attempt=2)) == "not_yours"
    assert len(await published(redis, TURNS_STREAM)) == 1


async def test_nobody_beats_or_reports_as_anothers_worker(
    api: str, worker: AgentSocket, redis: Redis, database: Database
) -> None:
    await worker.ask(BeatWorker(heartbeat=make_heartbeat("W_1")))
    await beat_for_ever(redis, make_heartbeat("W_direct"))
    async with worker_socket(api, await bare_key(database, Scope.AGENT)) as other:
        await other.ask(Present(credential=PAIR.sign_attempt(MINE, 1)))
        for worker_id in ("W_1", "W_direct"):
            heartbeat = make_heartbeat(worker_id, draining=True)
            assert await other.refusal(BeatWorker(heartbeat=heartbeat)) == "not_yours"
            assert await other.refusal(RemoveWorker(worker_id=worker_id)) == "not_yours"
            assert await other.refusal(ReadOrder(worker_id=worker_id)) == "not_yours"
            blaming = publishing(report(worker_id=worker_id), stream="reports")
            assert await other.refusal(blaming) == "not_yours"
        await other.ask(BeatWorker(heartbeat=make_heartbeat("W_2")))
    workers = {each.worker_id: each.draining for each in (await read_fleet(redis)).workers}
    assert workers == {"W_1": False, "W_2": False, "W_direct": False}


async def test_a_worker_whose_connection_ends_is_not_heard_any_more(api: str, redis: Redis) -> None:
    async with worker_socket(api, PAIR.sign_worker()) as socket:
        await socket.ask(BeatWorker(heartbeat=make_heartbeat("W_1")))
        assert list((await read_beats(redis)).ways) == ["W_1"]

    async def unheard() -> bool:
        return not (await read_beats(redis)).ways

    await until(unheard, what="the verifier knows that silence says nothing")
