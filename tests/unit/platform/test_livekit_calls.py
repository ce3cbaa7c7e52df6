"""Calls keep to their rate, a server that is down is spared, and a refused key reports the clock skew."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.contracts.causes import Cause
from shared.contracts.settings import LiveKitSettings
from shared.platform import breaker as breaker_module
from shared.platform.livekit import client as livekit_module
from shared.platform.livekit.client import LiveKit, LiveKitError, make_limiter

_CODES = {400: "invalid_argument", 401: "unauthenticated", 404: "not_found", 429: "resource_exhausted"}

Call = Callable[[LiveKit], Awaitable[Any]]


class Server:
    """Speaks LiveKit's protocol: an empty message, or the status that is set for a method."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        self.clock_ahead_s = 0.0
        self.calls: list[str] = []
        self.url = ""
        self.answers = asyncio.Event()
        self.answers.set()

    async def _answer(self, request: web.Request) -> web.Response:
        method = request.path.rpartition("/")[2] or "/"
        self.calls.append(method)
        await self.answers.wait()
        status = self.status.get(method, 200)
        date = {"Date": formatdate(time.time() + self.clock_ahead_s, usegmt=True)}
        if status == 200:
            return web.Response(content_type="application/protobuf", headers=date)
        said = {"code": _CODES.get(status, "internal"), "msg": "x"}
        return web.json_response(said, status=status, headers=date)

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        return runner


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    runner = await server.start()
    yield server
    server.answers.set()
    await runner.cleanup()


def connect(url: str, calls_per_s: float = 1000) -> LiveKit:
    return LiveKit(
        LiveKitSettings(
            livekit_url=url,
            livekit_api_key="devkey",
            livekit_api_secret=SecretStr("a-secret-of-thirty-two-characters"),
            livekit_calls_per_s=calls_per_s,
        )
    )


@pytest.fixture
async def livekit(server: Server) -> AsyncIterator[LiveKit]:
    client = connect(server.url)
    yield client
    await client.close()


@pytest.fixture
async def away(free_port: int) -> AsyncIterator[LiveKit]:
    """A client of a server that is not there."""
    client = connect(f"ws://127.0.0.1:{free_port}")
    yield client
    await client.close()


async def error_of(call: Awaitable[Any]) -> LiveKitError:
    with pytest.raises(LiveKitError) as raised:
        await call
    return raised.value


async def test_a_call_that_never_connected_was_certainly_not_done(away: LiveKit) -> None:
    error = await error_of(away.room_exists("room-1"))
    assert (error.cause, error.retryable) == (Cause.LIVEKIT_UNREACHABLE, True)
    assert not error.uncertain
    assert "did not answer a moment ago" not in str(error)


async def test_a_bug_of_ours_is_not_called_a_failure_of_livekit(livekit: LiveKit) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await livekit._call("CreateRoom", fail)
    assert await livekit.answers()


async def test_calls_keep_to_their_rate(server: Server) -> None:
    client = connect(server.url, calls_per_s=20)
    started = time.monotonic()
    await asyncio.gather(*(client.room_exists(f"room-{number}") for number in range(50)))
    # One second's worth at once, and the other 30 in 1.5 s; a slow machine only makes it longer.
    assert time.monotonic() - started > 1.4
    assert len(server.calls) == 50
    await client.close()


async def test_a_rate_below_one_call_a_second_is_a_rate_too() -> None:
    limiter = make_limiter(0.5)
    assert (limiter.max_rate, limiter.time_period) == (1.0, 2.0)
    await limiter.acquire()
    assert not limiter.has_capacity()


async def test_while_the_server_is_away_calls_fail_without_being_made(
    away: LiveKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 3600)
    assert await away.answers()
    await error_of(away.room_exists("room-1"))
    assert not await away.answers()
    error = await error_of(away.create_dispatch("r", agent_name="a", metadata="", attributes={}))
    assert "did not answer a moment ago" in str(error)
    assert (error.cause, error.retryable, error.uncertain) == (Cause.LIVEKIT_UNREACHABLE, True, False)


async def test_a_server_that_is_back_is_found_by_the_next_probe(
    livekit: LiveKit, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 0.05)
    server.status["ListRooms"] = 500
    await error_of(livekit.room_exists("room-1"))
    async with asyncio.timeout(30):
        while len(server.calls) < 3:
            assert not await livekit.answers()
        server.status.clear()
        while not await livekit.answers():
            pass
    assert not await livekit.room_exists("room-1")


async def test_of_many_who_ask_whether_the_server_is_back_one_asks_the_server(
    livekit: LiveKit, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 0)
    server.status["ListRooms"] = 500
    await error_of(livekit.room_exists("room-1"))
    monkeypatch.undo()
    server.status.clear()
    assert await asyncio.gather(*(livekit.answers() for _ in range(10))) == [True] * 10
    assert len(server.calls) == 2


async def test_a_server_that_hangs_is_not_asked_by_each_of_those_who_wait(
    livekit: LiveKit, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 0)
    server.status["ListRooms"] = 500
    await error_of(livekit.room_exists("room-1"))
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 0.5)
    monkeypatch.setattr(livekit_module, "PROBE_TIMEOUT_S", 0.5)
    server.answers.clear()
    assert await asyncio.gather(*(livekit.answers() for _ in range(10))) == [False] * 10
    assert len(server.calls) == 2


@pytest.mark.parametrize("method", ["ListDispatch", "CreateDispatch", "DeleteDispatch"])
async def test_a_503_of_one_missing_room_does_not_mean_that_the_server_is_away(
    livekit: LiveKit, server: Server, method: str
) -> None:
    calls: dict[str, Call] = {
        "ListDispatch": lambda lk: lk.dispatches("room-1"),
        "CreateDispatch": lambda lk: lk.create_dispatch("r", agent_name="a", metadata="", attributes={}),
        "DeleteDispatch": lambda lk: lk.delete_dispatch("room-1", "AD_1"),
    }
    server.status[method] = 503
    error = await error_of(calls[method](livekit))
    assert error.cause is Cause.LIVEKIT_UNREACHABLE
    assert await livekit.answers()
    assert not await livekit.room_exists("room-1")


@pytest.mark.parametrize("status", [400, 401, 404, 429])
async def test_an_answer_that_says_no_is_an_answer(livekit: LiveKit, server: Server, status: int) -> None:
    server.status["ListRooms"] = status
    await error_of(livekit.room_exists("room-1"))
    assert await livekit.answers()


@pytest.mark.parametrize("ahead", [-120, 0, 120])
async def test_a_refused_key_comes_with_the_difference_of_the_clocks(
    livekit: LiveKit, server: Server, ahead: int
) -> None:
    server.clock_ahead_s = ahead
    server.status["ListRooms"] = 401
    error = await error_of(livekit.room_exists("room-1"))
    assert error.cause is Cause.LIVEKIT_AUTH
    assert error.evidence["clock_skew_s"] == pytest.approx(-ahead, abs=20)
    assert ("clock" in str(error)) == (ahead != 0)
    assert server.calls == ["ListRooms", "/"]


async def test_a_server_that_does_not_tell_the_time_refuses_the_key_all_the_same(
    livekit: LiveKit, server: Server
) -> None:
    server.status["ListRooms"] = 401
    livekit.clock_url = "http://127.0.0.1:1/"
    error = await error_of(livekit.room_exists("room-1"))
    assert error.evidence == {"error": str(error)}


@pytest.mark.parametrize(
    ("url", "clock_url"),
    [
        ("ws://host:7880", "http://host:7880"),
        ("wss://ws.example.com", "https://ws.example.com"),
        ("https://host", "https://host"),
    ],
)
async def test_the_time_is_asked_of_the_server_itself(url: str, clock_url: str) -> None:
    client = connect(url)
    assert client.clock_url == clock_url
    await client.close()
