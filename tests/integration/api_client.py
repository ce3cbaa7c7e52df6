"""The API as a client sees it: in this process without a socket, or served on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
from asgi_lifespan import LifespanManager
from redis.asyncio import Redis

from services.api.app import create_app
from services.api.http.server import WAIT_LIMITS, Server, server_config
from services.api.live.event_stream import give_up_unread
from services.api.settings import ApiSettings
from shared.contracts.keys import worker_key
from shared.contracts.workers import WorkerHeartbeat
from shared.core.workers.registry import write_heartbeat
from shared.platform.http.connections import WaitLimits
from tests.integration.background import stop

KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
PROBLEM = "application/problem+json"
NOWHERE = "ws://127.0.0.1:9"  # the port of the discard service; nothing listens there


def api_settings(database_url: str, redis_url: str, **changes: Any) -> ApiSettings:
    values: dict[str, Any] = {
        "livekit_url": NOWHERE,
        "livekit_api_key": KEY,
        "livekit_api_secret": SECRET,
        "database_url": database_url,
        "redis_url": redis_url,
        **changes,
    }
    return ApiSettings(**values)


async def beat_for_ever(redis: Redis, heartbeat: WorkerHeartbeat) -> None:
    """Register a worker that does not expire, however slow the machine is."""
    await write_heartbeat(redis, heartbeat)
    await redis.persist(worker_key(heartbeat.worker_id))


@asynccontextmanager
async def in_process(settings: ApiSettings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with LifespanManager(app, shutdown_timeout=20):
        # Not the manager's app: all its requests would share one state, and with it their principal.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30) as client:
            yield client


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals are the test runner's


@asynccontextmanager
async def served(
    settings: ApiSettings, *, unread_timeout_s: float = 20, wait_limits: WaitLimits = WAIT_LIMITS
) -> AsyncIterator[httpx.AsyncClient]:
    """Over real sockets, for what streams."""
    app = create_app(settings)
    server = _Server(
        server_config(app, max_connections=settings.api_max_connections, wait_limits=wait_limits, grace_s=1)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        give_up_unread(listening, after_s=unread_timeout_s)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(serving), 10)
            await stop(serving)


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["title"]
    assert body["detail"]
    return body


async def start(client: httpx.AsyncClient, **wish: Any) -> dict[str, Any]:
    response = await client.post("/v1/sessions", json=wish)
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.json()
    return body
