"""The limits on followers in one process, and what happens to those who do not read."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.api.live import event_stream
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, served
from tests.integration.live.test_event_stream import tell
from tests.integration.rows import a_turn, put_session
from tests.stack_fixtures.waiting import eventually
from tests.support.event_streams import following


async def test_more_followers_than_a_process_can_serve_are_told_to_come_later(
    sqlite_url: str, redis_url: str
) -> None:
    database = Database(sqlite_url)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    async with served(api_settings(sqlite_url, redis_url, max_followers=1)) as client:
        async with following(client, row.id) as stream:
            await stream.until(lambda s: len(s.received) == 1)
            headers = {"accept": "text/event-stream"}
            refused = await client.get(f"/v1/sessions/{row.id}/events", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (503, "too_many_followers")
            assert refused.headers["retry-after"] == "5"
        await eventually(lambda: _followers() == 0)
    await database.close()


def _followers() -> float:
    return REGISTRY.get_sample_value("event_stream_followers") or 0.0


LONG = "word " * 40_000


@contextmanager
def deaf_follower(client: httpx.AsyncClient, session_id: str) -> Iterator[socket.socket]:
    """Somebody who asks for an event stream and never reads it, with little room in the kernel's buffer."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((client.base_url.host, client.base_url.port))
        request = (
            f"GET /v1/sessions/{session_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
        )
        deaf.sendall(request.encode())
        yield deaf


async def test_who_does_not_read_is_cut_off_and_the_others_are_not_kept_waiting(
    sqlite_url: str, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT_S", 0.3)
    database = Database(sqlite_url)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    cut_off = _cut_off()
    async with served(api_settings(sqlite_url, redis_url), unread_timeout_s=300) as client:
        with deaf_follower(client, row.id):
            await eventually(lambda: _followers() == 1)
            async with following(client, row.id) as stream:
                await eventually(lambda: _followers() == 2)
                for seq in range(1, 41):  # far more than the kernel's buffers hold
                    await tell(redis, database, a_turn(row.id, seq, text=LONG))
                await stream.until(lambda s: len(s.turns) == 40)
                await eventually(lambda: _followers() == 1)
            assert _cut_off() == cut_off + 1
    await database.close()


async def test_the_connection_of_who_does_not_read_is_closed(
    sqlite_url: str, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT_S", 0.3)
    database = Database(sqlite_url)
    row = await put_session(database, status=SessionStatus.ACTIVE)
    async with served(api_settings(sqlite_url, redis_url), unread_timeout_s=1) as client:
        with deaf_follower(client, row.id) as deaf:
            await eventually(lambda: _followers() == 1)
            for seq in range(1, 41):
                await tell(redis, database, a_turn(row.id, seq, text=LONG))
            # It is gone, not only unused: the kernel has given up what was not read.
            await eventually(lambda: _is_reset(deaf))
    await database.close()


def _cut_off() -> float:
    return REGISTRY.get_sample_value("event_stream_followers_lost_total", {"why": "not_read"}) or 0.0


def _is_reset(deaf: socket.socket) -> bool:
    try:
        deaf.send(b"x")
    except ConnectionError:
        return True
    return False
