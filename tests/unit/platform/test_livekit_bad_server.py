"""Every call of LiveKit's API ends in time, whatever answers at LIVEKIT_URL, with the right error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shared.contracts.causes import Cause
from shared.platform import breaker as breaker_module
from shared.platform.livekit import client as livekit_module
from shared.platform.livekit.client import LiveKit, LiveKitError, NotFound
from tests.support import bad_server as bad
from tests.support.bad_server import BadServer, bad_server
from tests.unit.platform.test_livekit_calls import connect

# Far above the limit of a call.
HANGS_S = 60

CALLS: dict[str, Callable[[LiveKit], Awaitable[Any]]] = {
    "CreateRoom": lambda lk: lk.create_room("r", agents=[], empty_timeout_s=1, departure_timeout_s=1),
    "DeleteRoom": lambda lk: lk.delete_room("r"),
    "ListRooms": lambda lk: lk.rooms(),
    "ListParticipants": lambda lk: lk.participants("r"),
    "RemoveParticipant": lambda lk: lk.remove_participant("r", "x"),
    "ListDispatch": lambda lk: lk.dispatches("r"),
    "CreateDispatch": lambda lk: lk.create_dispatch("r", agent_name="a", metadata="", attributes={}),
    "DeleteDispatch": lambda lk: lk.delete_dispatch("r", "AD_1"),
}


@pytest.fixture
async def server() -> AsyncIterator[BadServer]:
    async with bad_server(bad.NEVER) as listening:
        yield listening


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livekit_module, "CALL_TIMEOUT_S", 0.1)


async def error_at(url: str, call: Callable[[LiveKit], Awaitable[Any]]) -> LiveKitError:
    livekit = connect(url)
    try:
        with pytest.raises(LiveKitError) as raised:
            async with asyncio.timeout(HANGS_S):
                await call(livekit)
        assert not await livekit.answers()
    finally:
        await livekit.close()
    return raised.value


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("behaviour", bad.SILENT)
async def test_no_call_waits_for_ever(server: BadServer, behaviour: str, method: str) -> None:
    server.behaviour = behaviour
    error = await error_at(server.url(), CALLS[method])
    assert (error.cause, error.retryable, error.uncertain) == (Cause.LIVEKIT_UNREACHABLE, True, True)
    assert "in time" in str(error)
    assert method in str(error)


@pytest.mark.parametrize("behaviour", bad.FOREIGN)
@pytest.mark.parametrize("method", ["ListRooms", "DeleteRoom", "CreateDispatch"])
async def test_somebody_elses_answer_is_told_as_such_and_never_taken_for_a_missing_room(
    server: BadServer, behaviour: str, method: str
) -> None:
    server.behaviour = behaviour
    error = await error_at(server.url("http", "/api"), CALLS[method])
    assert not isinstance(error, NotFound)
    assert (error.cause, error.retryable) == (Cause.LIVEKIT_UNREACHABLE, True)
    assert f"{server.url('http', '/api')} is not LiveKit's API" in str(error)
    assert "the path /api" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("behaviour", [bad.HTML, bad.OTHER_JSON, bad.NO_PROTOBUF])
async def test_behind_a_success_that_is_not_livekits_the_call_may_have_been_done(
    server: BadServer, behaviour: str
) -> None:
    server.behaviour = behaviour
    assert (await error_at(server.url(), CALLS["CreateRoom"])).uncertain


@pytest.mark.parametrize("behaviour", [bad.HTML_404, bad.REDIRECT, bad.LOGIN])
async def test_behind_a_refusal_that_is_not_livekits_nothing_was_done(
    server: BadServer, behaviour: str
) -> None:
    server.behaviour = behaviour
    assert not (await error_at(server.url(), CALLS["CreateRoom"])).uncertain


@pytest.mark.parametrize("behaviour", [*bad.BROKEN, bad.NO_BREAK])
async def test_a_broken_answer_is_no_answer(server: BadServer, behaviour: str) -> None:
    server.behaviour = behaviour
    error = await error_at(server.url(), CALLS["CreateDispatch"])
    assert (error.cause, error.retryable, error.uncertain) == (Cause.LIVEKIT_UNREACHABLE, True, True)


async def test_a_port_that_speaks_something_else_is_named(server: BadServer) -> None:
    server.behaviour = bad.NO_HTTP
    assert "does not speak HTTP" in str(await error_at(server.url("http"), CALLS["ListRooms"]))


@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_tls_where_none_is_spoken_is_named(server: BadServer, scheme: str) -> None:
    server.behaviour = bad.HTML_404
    error = await error_at(server.url(scheme), CALLS["CreateRoom"])
    assert "does not speak TLS" in str(error)
    assert not error.uncertain


async def test_calls_that_are_not_made_tell_what_was_found_before(
    server: BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "PROBE_INTERVAL_S", 3600)
    server.behaviour = bad.HTML_404
    livekit = connect(server.url(path="/api"))
    for _ in range(2):
        with pytest.raises(LiveKitError, match="is not LiveKit's API: it answers 404 with text/html"):
            await livekit.room_exists("r")
    assert server.connections == 1
    assert "404" in livekit.why_away["error"]
    await livekit.close()
