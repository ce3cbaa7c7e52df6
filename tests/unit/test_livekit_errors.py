"""Every failure of a LiveKit call is classed: worth another try, possibly done, and whose fault."""

import socket

import aiohttp
import pytest
from livekit import api
from pydantic import SecretStr

from shared.contracts.causes import Cause
from shared.contracts.settings import LiveKitSettings
from shared.runtime.livekit import LiveKit, LiveKitError, NotFound, _call, _classed, is_active, is_agent
from tests.unit.making import make_agent, make_caller


def answer(status: int, code: str = "code", message: str = "message") -> api.ServerError:
    return api.ServerError(code, message, status=status)


@pytest.mark.parametrize(
    ("status", "cause", "retryable", "uncertain"),
    [
        (400, Cause.UNKNOWN, False, False),
        (401, Cause.LIVEKIT_AUTH, False, False),
        (403, Cause.LIVEKIT_AUTH, False, False),
        (404, Cause.ROOM_CLOSED, False, False),
        (408, Cause.LIVEKIT_UNREACHABLE, True, True),
        (409, Cause.UNKNOWN, False, False),
        (429, Cause.LIVEKIT_UNREACHABLE, True, False),
        (500, Cause.LIVEKIT_UNREACHABLE, True, True),
        (503, Cause.LIVEKIT_UNREACHABLE, True, True),
        (504, Cause.LIVEKIT_UNREACHABLE, True, True),
    ],
)
def test_an_answer_is_classed_by_its_status(
    status: int, cause: Cause, retryable: bool, uncertain: bool
) -> None:
    error = _classed("CreateDispatch", answer(status))
    assert (error.cause, error.retryable, error.uncertain) == (cause, retryable, uncertain)
    assert "CreateDispatch" in str(error)
    assert str(status) in str(error)


def test_only_a_404_means_that_something_is_gone() -> None:
    assert isinstance(_classed("DeleteRoom", answer(404)), NotFound)
    assert not isinstance(_classed("DeleteRoom", answer(400)), NotFound)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_not_repeated_in_the_error(status: int) -> None:
    error = _classed("ListRooms", answer(status, message="invalid token: eyJhbGciOiJIUzI1NiJ9.e30.sig"))
    assert "eyJ" not in str(error)


async def failing(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "failure", [aiohttp.ServerDisconnectedError(), TimeoutError(), ConnectionResetError()], ids=repr
)
async def test_a_call_that_got_no_answer_may_have_been_done(failure: Exception) -> None:
    with pytest.raises(LiveKitError) as raised:
        await _call("CreateRoom", failing(failure))
    assert (raised.value.cause, raised.value.retryable) == (Cause.LIVEKIT_UNREACHABLE, True)
    assert raised.value.uncertain


async def test_a_call_that_never_connected_was_certainly_not_done() -> None:
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        settings = LiveKitSettings(
            livekit_url=f"http://127.0.0.1:{bound_but_deaf.getsockname()[1]}",
            livekit_api_key="devkey",
            livekit_api_secret=SecretStr("a-secret-of-thirty-two-characters"),
        )
        livekit = LiveKit(settings)
        with pytest.raises(LiveKitError) as raised:
            await livekit.room_exists("room-1")
        await livekit.close()
    assert (raised.value.cause, raised.value.retryable) == (Cause.LIVEKIT_UNREACHABLE, True)
    assert not raised.value.uncertain


async def test_a_bug_of_ours_is_not_called_a_failure_of_livekit() -> None:
    with pytest.raises(ZeroDivisionError):
        await _call("CreateRoom", failing(ZeroDivisionError()))


def test_an_agent_is_known_by_what_the_server_stamps_on_it() -> None:
    assert is_agent(make_agent(), "agent")
    assert not is_agent(make_agent(name="Agent"), "agent")
    assert not is_agent(make_agent(name="agent2"), "agent")


def test_a_human_who_calls_himself_an_agent_is_none() -> None:
    human = make_caller("agent-AJ_1", attributes={"lk.agent_name": "agent"})
    assert not is_agent(human, "agent")


def test_an_avatar_that_publishes_for_an_agent_is_none() -> None:
    assert not is_agent(make_agent(**{"lk.publish_on_behalf": "agent-AJ_1"}), "agent")


def test_only_a_connected_participant_is_active() -> None:
    states = api.ParticipantInfo.State
    assert is_active(make_agent(state=states.ACTIVE))
    for state in (states.JOINING, states.JOINED, states.DISCONNECTED):
        assert not is_active(make_agent(state=state))
