"""Unfinished requests hold nothing permanently: no connection, no descriptor, no disk.

Tried on a process of the API that may open few files, and in this process with less wait_limits.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from services.api.http.server import WAIT_LIMITS
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import ProbeSettings
from shared.platform.database.database import Database
from shared.platform.http import connections, probe
from shared.platform.http.connections import Connections, WaitLimits
from shared.platform.http.listen import listening_socket
from shared.platform.http.probe import start_probe
from shared.platform.http.site import PatientSite
from tests.integration.api_client import NOWHERE, api_settings, served
from tests.integration.rows import a_turn, put_session, store_turns
from tests.stack_fixtures.waiting import eventually
from tests.support.event_streams import following
from tests.support.half_sent import (
    BEGINNINGS,
    HALF_BODY,
    TLS,
    TRICKLED,
    again_and_again,
    answer_to,
    begun,
)

ROOT = Path(__file__).parents[3]
FEW_FILES = 128
LITTLE = WaitLimits(header_s=0.5, next_request_s=0.5, body_s=0.5, reading_s=0.5, closing_s=0.5)


@pytest.fixture
def often_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOK_EVERY_S", 0.05)


@pytest.fixture
async def with_few_files(
    sqlite_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[tuple[int, Process]]:
    """The port of an API whose process may open `FEW_FILES` files, and the process."""
    port = free_port()
    env = {
        "PYTHONPATH": str(ROOT),
        "LIVEKIT_URL": NOWHERE,
        "LIVEKIT_API_KEY": "devkey",
        "LIVEKIT_API_SECRET": "a-secret-of-thirty-two-characters",
        "DATABASE_URL": sqlite_url,
        "REDIS_URL": redis_url,
        "API_PORT": str(port),
        "API_AUTH": "off",
    }
    spec = ProcessSpec(
        name="api",
        command=["sh", "-c", f'ulimit -n {FEW_FILES}; exec "$0" -m services.api', sys.executable],
        env=clean_environment(env),
        cwd=tmp_path,
        log_file=tmp_path / "api.log",
        ready=http_ready(f"http://127.0.0.1:{port}/readyz"),
        restart=False,
    )
    process = Process(spec, notify=lambda *_: None)
    await process.start()
    yield port, process
    await process.stop()


async def is_answered(port: int) -> None:
    """Check that a new, well-behaved caller gets an answer."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/v1/sessions", json={})).status_code == 202


async def test_half_requests_up_to_the_last_descriptor_keep_nobody_out_and_fill_no_disk(
    with_few_files: tuple[int, Process],
) -> None:
    port, process = with_few_files
    with ExitStack() as held:
        for beginning in BEGINNINGS.values():
            held.enter_context(begun(port, beginning, FEW_FILES + 40))
            await is_answered(port)
        await is_answered(port)
    async with again_and_again(port, TLS, at_once=20) as came:
        await eventually(lambda: came() > 300)
        await is_answered(port)
    assert process.pid is not None
    assert len(process.log()) < 100_000, process.log()[:5000]
    assert "Too many open files" not in process.log()


@pytest.mark.usefixtures("often_looked_at")
@pytest.mark.parametrize("beginning", [*BEGINNINGS.values()], ids=[*BEGINNINGS])
async def test_whoever_begins_and_does_not_go_on_is_closed(
    sqlite_url: str, redis_url: str, beginning: bytes
) -> None:
    async with served(api_settings(sqlite_url, redis_url), wait_limits=LITTLE) as client:
        async with asyncio.timeout(20):
            answer = await answer_to(client.base_url.port or 0, beginning)
    last = answer.rpartition(b"HTTP/1.1 ")[2]
    if beginning == TLS:
        assert last.startswith(b"400 ")
    else:
        assert last.startswith(b"408 "), answer
        assert b'"code": "request_too_slow"' in last


@pytest.mark.usefixtures("often_looked_at")
@pytest.mark.parametrize("what", TRICKLED)
async def test_a_byte_now_and_then_makes_no_time_longer(sqlite_url: str, redis_url: str, what: str) -> None:
    beginning, byte = TRICKLED[what]
    async with served(api_settings(sqlite_url, redis_url), wait_limits=LITTLE) as client:
        async with asyncio.timeout(20):
            await answer_to(client.base_url.port or 0, beginning, byte)


@pytest.mark.usefixtures("often_looked_at")
async def test_a_body_that_nobody_wants_any_more_is_not_waited_for_either(
    sqlite_url: str, redis_url: str
) -> None:
    refused = HALF_BODY.replace(b"/v1/sessions", b"/nowhere")
    async with served(api_settings(sqlite_url, redis_url), wait_limits=LITTLE) as client:
        async with asyncio.timeout(20):
            answer = await answer_to(client.base_url.port or 0, refused, b" ")
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.usefixtures("often_looked_at")
async def test_an_answer_that_takes_long_is_not_cut_off(
    sqlite_url: str, redis_url: str, database_of_sqlite: Database
) -> None:
    row = await put_session(database_of_sqlite, status=SessionStatus.ACTIVE)
    async with served(api_settings(sqlite_url, redis_url), wait_limits=LITTLE) as client:
        waiting = asyncio.create_task(client.post("/v1/sessions", json={}, headers={"prefer": "wait=3"}))
        async with following(client, row.id) as stream:
            await stream.until(lambda s: s.received != [])
            assert (await waiting).status_code == 202
            await store_turns(database_of_sqlite, [a_turn(row.id, 1)])
            await stream.until(lambda s: s.turns == [1])


@pytest.mark.usefixtures("often_looked_at")
async def test_whoever_does_not_read_is_closed(sqlite_url: str, redis_url: str) -> None:
    wait_limits = WaitLimits(reading_s=0.5, next_request_s=0.5, closing_s=0.5)
    async with served(api_settings(sqlite_url, redis_url), wait_limits=wait_limits) as client:
        async with asyncio.timeout(120):
            _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port or 0)
            with pytest.raises(ConnectionError):
                await ask_and_read_nothing(writer)


async def ask_and_read_nothing(writer: asyncio.StreamWriter) -> None:
    """Ask for more than any buffer in between holds; raises once the connection is gone."""
    while True:
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: api\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)


@pytest.fixture
async def database_of_sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def probed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """The port of a probe with short wait limits and room for 16."""

    def impatient(_: int) -> Connections:
        return Connections(16, LITTLE)

    monkeypatch.setattr(probe, "Connections", impatient)
    port = free_port()
    runner = await start_probe(ProbeSettings(probe_port=port))
    assert runner is not None
    yield port
    await runner.cleanup()


@pytest.mark.usefixtures("often_looked_at")
@pytest.mark.parametrize("beginning", [*BEGINNINGS.values()], ids=[*BEGINNINGS])
async def test_a_probe_is_not_held_by_half_a_request(
    monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    async with probed(monkeypatch) as port, httpx.AsyncClient(timeout=30) as client:
        with begun(port, beginning, 100):
            assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
        async with asyncio.timeout(20):
            await answer_to(port, beginning)


@pytest.mark.usefixtures("often_looked_at")
async def test_a_server_of_ours_ends_a_trickle_and_keeps_what_works() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    async def slowly(_: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response(text="at last")

    app = web.Application()
    app.router.add_post("/v1/sessions", echo)
    app.router.add_get("/slowly", slowly)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    with listening_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        await PatientSite(runner, listening, Connections(16, LITTLE)).start()
        async with asyncio.timeout(20), httpx.AsyncClient(timeout=30) as client:
            for beginning, byte in TRICKLED.values():
                await answer_to(port, beginning, byte)
            assert (await client.get(f"http://127.0.0.1:{port}/slowly")).text == "at last"
        await runner.cleanup()


def test_proxies_keep_a_connection_that_rests_for_less_long_than_we() -> None:
    assert WAIT_LIMITS.next_request_s > 60
