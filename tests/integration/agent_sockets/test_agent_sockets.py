"""What workers and jobs may ask over their sockets, and what somebody hostile gets who has one of them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.api.agent_sockets import socket
from services.api.auth.access import Scope
from services.api.auth.key_format import id_of
from services.api.keys.manage import revoke_key
from shared.contracts.agent_calls import (
    MAX_FRAME_BYTES,
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
    AgentReported,
    CaptionChanged,
    Envelope,
    Event,
    SessionRequested,
    Step,
    TurnFinished,
    wrap,
)
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import (
    ENVELOPE_FIELD,
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
from shared.core.workers.credentials import KeyPair
from shared.core.workers.fence import set_fence
from shared.core.workers.history import write_history
from shared.core.workers.orders import give_order
from shared.core.workers.registry import read_fleet
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import KEY, SECRET, api_settings, beat_for_ever, served
from tests.support.agent_socket import AgentSocket, job_socket, worker_socket
from tests.support.keys import bare_key
from tests.support.sessions import until
from tests.support.stream_entries import entries_of
from tests.unit.making import T0, make_heartbeat

PAIR = KeyPair(KEY, SecretStr(SECRET))
MINE, OTHERS = SessionId(new_id()), SessionId(new_id())


@pytest.fixture
async def api(database_url: str, redis_url: str) -> AsyncIterator[str]:
    """The address of an API that is served over real sockets."""
    async with served(api_settings(database_url, redis_url)) as client:
        yield str(client.base_url)


@pytest.fixture
async def job(api: str) -> AsyncIterator[AgentSocket]:
    """The socket of the job that has my session's first attempt."""
    async with job_socket(api, PAIR.sign_attempt(MINE, 1)) as socket:
        yield socket


@pytest.fixture
async def worker(api: str) -> AsyncIterator[AgentSocket]:
    """The socket of a worker with LiveKit's key pair."""
    async with worker_socket(api, PAIR.sign_worker()) as socket:
        yield socket


def turn(session_id: SessionId = MINE, attempt: int = 1, **changes: Any) -> TurnFinished:
    values: dict[str, Any] = {"seq": 1, "item_id": "item-1", "role": Role.USER, "text": "สวัสดี"}
    return TurnFinished(session_id=session_id, attempt=attempt, created_at=T0, **{**values, **changes})


def report(session_id: SessionId = MINE, attempt: int = 1, worker_id: str = "worker-1") -> AgentReported:
    named = {"room_name": "room", "agent_name": "agent", "job_id": "AJ_1"}
    return AgentReported(
        session_id=session_id, attempt=attempt, step=Step.CONNECTED, worker_id=worker_id, **named
    )


def caption(session_id: SessionId = MINE) -> CaptionChanged:
    return CaptionChanged(session_id=session_id, attempt=1, segment_id="s", role=Role.USER, text="hello")


def wrapped(event: Event, session_id: SessionId = MINE) -> Envelope:
    return wrap(event, session_id=session_id, source="somewhere", time=T0)


def publishing(*events: Event, stream: Any = "turns", **of: Any) -> Publish:
    named = {"session_id": MINE, "attempt": 1, **of}
    return Publish(stream=stream, envelopes=[wrapped(event) for event in events], **named)


async def published(redis: Redis, stream: str) -> list[Envelope]:
    return [Envelope.parse(fields[ENVELOPE_FIELD]) for _, fields in await entries_of(redis, stream)]


async def refused_handshake(url: str, bearer: str, opened: Any) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(url, bearer):
            pass
    return refused.value.status


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


async def test_a_handshake_needs_the_right_credential(api: str, database: Database) -> None:
    foreign = KeyPair(KEY, SecretStr("another-secret-of-thirty-two-chars"))
    for opened, bearers in (
        (worker_socket, ("", "nonsense", PAIR.sign_attempt(MINE, 1), foreign.sign_worker())),
        (job_socket, ("", "nonsense", PAIR.sign_worker(), foreign.sign_attempt(MINE, 1))),
    ):
        for bearer in bearers:
            assert await refused_handshake(api, bearer, opened) == 401, bearer
    late = PAIR.sign_worker(now=T0)
    assert await refused_handshake(api, late, worker_socket) == 401
    reading = await bare_key(database, Scope.SESSIONS_WRITE, Scope.SESSIONS_READ)
    assert await refused_handshake(api, reading, worker_socket) == 403
    assert await refused_handshake(api, await bare_key(database, Scope.ADMIN), job_socket) == 401


async def test_a_callers_token_opens_no_socket(api: str) -> None:
    async with httpx.AsyncClient(base_url=api) as client:
        started = (await client.post("/v1/sessions", json={})).json()
    for opened in (worker_socket, job_socket):
        assert await refused_handshake(api, started["participant_token"], opened) == 401


async def test_a_refused_handshake_says_what_to_do(api: str) -> None:
    headers = {
        "Authorization": "Bearer nonsense",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with httpx.AsyncClient(base_url=api) as client:
        refused = await client.get("/v1/agent/worker", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "credential_invalid"


async def test_who_guesses_credentials_is_refused_for_a_while(database_url: str, redis_url: str) -> None:
    settings = api_settings(database_url, redis_url, requests_per_minute_bad_key=3)
    async with served(settings) as client:
        statuses = [await refused_handshake(str(client.base_url), "guess", job_socket) for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        "{",
        '{"id": 1}',
        '{"id": 1, "call": {"call": "drop_tables"}}',
        "[" * 50_000,
        "\\ud800",
    ],
)
async def test_a_malformed_frame_is_answered_and_the_socket_goes_on(job: AgentSocket, frame: str) -> None:
    await job.send(frame)
    answer = await job.receive()
    assert answer["refusal"]["code"] == "malformed"
    assert await job.ask(ReadFence(session_id=MINE, attempt=1)) is None


async def test_a_refusal_does_not_repeat_what_was_said(job: AgentSocket) -> None:
    bad = publishing(turn(text="my card is 4111")).model_dump(mode="json")
    bad["envelopes"][0]["data"]["role"] = {"said": "my card is 4111"}
    await job.send(json.dumps({"id": 1, "call": bad}))
    answer = await job.receive()
    assert answer["refusal"]["code"] == "malformed"
    assert "4111" not in json.dumps(answer)


async def test_an_oversized_frame_ends_the_socket(job: AgentSocket) -> None:
    await job.send("x" * (MAX_FRAME_BYTES + 1))
    assert await job.close_code() == 1009


async def test_the_longest_turn_fits(job: AgentSocket, redis: Redis) -> None:
    long = turn(text="\x01" * (128 * 1024))  # each takes six bytes in JSON
    await job.ask(publishing(long))
    [told] = await published(redis, TURNS_STREAM)
    assert told.event() == long


async def test_a_flood_waits_and_others_are_served(api: str, job: AgentSocket, worker: AgentSocket) -> None:
    frame = json.dumps({"id": 1, "call": ReadFence(session_id=MINE, attempt=1).model_dump(mode="json")})
    flooding = asyncio.gather(*(job.send(frame) for _ in range(1000)))
    heartbeat = BeatWorker(heartbeat=make_heartbeat("W_1"))
    for _ in range(5):
        await asyncio.wait_for(worker.ask(heartbeat), 30)
    async with httpx.AsyncClient(base_url=api) as client:
        assert (await client.get("/livez", timeout=30)).status_code == 200
    flooding.cancel()


async def test_one_attempt_has_few_sockets(api: str) -> None:
    credential = PAIR.sign_attempt(MINE, 1)
    async with (
        job_socket(api, credential),
        job_socket(api, credential),
        job_socket(api, credential),
        job_socket(api, credential),
    ):
        assert await refused_handshake(api, credential, job_socket) == 429
        async with job_socket(api, PAIR.sign_attempt(OTHERS, 1)):
            pass


async def test_a_frame_that_comes_twice_is_one_turn_to_its_readers(job: AgentSocket, redis: Redis) -> None:
    call = publishing(turn())
    await job.ask(call)
    await job.ask(call)
    first, second = await published(redis, TURNS_STREAM)
    assert first.id == second.id, "the consumer recognises it by its id"


async def test_a_worker_with_a_key_is_let_in_until_the_key_is_revoked(
    api: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "KEY_CHECKED_EVERY_S", 0.0)
    key = await bare_key(database, Scope.AGENT)
    async with worker_socket(api, key) as opened:
        await opened.ask(BeatWorker(heartbeat=make_heartbeat("W_1")))
        await revoke_key(database, id_of(key) or "", now=utc_now)

        async def closed() -> bool:
            try:
                await opened.answer(BeatWorker(heartbeat=make_heartbeat("W_1")))
            except TypeError:  # what came is a closing frame
                return True
            return False

        await until(closed, what="the API has closed the socket")
        assert await opened.close_code() == 1008
