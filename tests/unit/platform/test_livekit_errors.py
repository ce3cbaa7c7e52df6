"""Every failure of a LiveKit call is classed: retryable or not, possibly effective or not, and its cause."""

import aiohttp
import pytest
from livekit import api

from shared.contracts.causes import Cause
from shared.platform.livekit.client import LiveKitError, NotFound, is_active, is_agent
from shared.platform.livekit.errors import SKEW_WORTH_TELLING_S, classed, not_asked, unreachable
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
    error = classed("CreateDispatch", answer(status))
    assert (error.cause, error.retryable, error.uncertain) == (cause, retryable, uncertain)
    assert "CreateDispatch" in str(error)
    assert str(status) in str(error)


def test_only_a_404_means_that_something_is_gone() -> None:
    assert isinstance(classed("DeleteRoom", answer(404)), NotFound)
    assert not isinstance(classed("DeleteRoom", answer(400)), NotFound)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_not_repeated_in_the_error(status: int) -> None:
    error = classed("ListRooms", answer(status, message="invalid token: eyJhbGciOiJIUzI1NiJ9.e30.sig"))
    assert "eyJ" not in str(error)


@pytest.mark.parametrize(
    ("skew", "told"),
    [
        (SKEW_WORTH_TELLING_S + 1, "31 s ahead of LiveKit's"),
        (-3600, "3600 s behind LiveKit's"),
        (SKEW_WORTH_TELLING_S, ""),
        (0, ""),
    ],
)
def test_a_clock_that_differs_is_evidence_and_told_where_it_may_matter(skew: int, told: str) -> None:
    error = classed("ListRooms", answer(401), clock_skew_s=skew)
    assert error.evidence == {"error": str(error), "clock_skew_s": skew}
    assert told in str(error)
    assert ("clock" in str(error)) == bool(told)


def test_a_clock_that_nobody_knows_is_no_evidence() -> None:
    error = classed("ListRooms", answer(401))
    assert error.evidence == {"error": str(error)}


@pytest.mark.parametrize(
    "failure", [aiohttp.ServerDisconnectedError(), TimeoutError(), ConnectionResetError()], ids=repr
)
def test_a_call_that_got_no_answer_may_have_been_done(failure: Exception) -> None:
    error = unreachable("CreateRoom", failure)
    assert (error.cause, error.retryable, error.uncertain) == (Cause.LIVEKIT_UNREACHABLE, True, True)


def test_a_call_that_was_not_made_was_certainly_not_done() -> None:
    error: LiveKitError = not_asked("CreateRoom")
    assert (error.cause, error.retryable, error.uncertain) == (Cause.LIVEKIT_UNREACHABLE, True, False)


def test_an_agent_is_known_by_what_the_server_stamps_on_it() -> None:
    assert is_agent(make_agent(), "agent")
    assert not is_agent(make_agent(name="Agent"), "agent")
    assert not is_agent(make_agent(name="agent2"), "agent")


def test_a_human_who_calls_himself_an_agent_is_none() -> None:
    human = make_caller("agent-AJ_1", attributes={"lk.agent_name": "agent"})
    assert not is_agent(human, "agent")


def test_an_avatar_that_publishes_for_an_agent_is_none() -> None:
    assert not is_agent(make_agent(attributes={"lk.publish_on_behalf": "agent-AJ_1"}), "agent")


def test_only_a_connected_participant_is_active() -> None:
    states = api.ParticipantInfo.State
    assert is_active(make_agent(state=states.ACTIVE))
    for state in (states.JOINING, states.JOINED, states.DISCONNECTED):
        assert not is_active(make_agent(state=state))
