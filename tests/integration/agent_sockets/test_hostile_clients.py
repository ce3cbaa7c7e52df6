"""What somebody gets who opens sockets without the right to, or sends what no client would."""

import asyncio
import json

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
    BeatWorker,
    ReadFence,
)
from shared.contracts.keys import (
    TURNS_STREAM,
)
from shared.core.workers.credentials import KeyPair
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.agent_sockets.making import (
    MINE,
    OTHERS,
    PAIR,
    published,
    publishing,
    refused_handshake,
    turn,
)
from tests.integration.api_client import KEY, api_settings, served
from tests.support.agent_socket import AgentSocket, job_socket, worker_socket
from tests.support.keys import bare_key
from tests.support.sessions import until
from tests.unit.making import T0, make_heartbeat


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
