"""The client of the API, the timeline and the judgement of a call."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from rich.text import Text

from cli.call.conversation import Outcome, word_error
from cli.client.client import ApiError, Client
from cli.demo import judge
from cli.render.timeline import Timeline
from shared.contracts.causes import Cause
from shared.contracts.events import (
    AgentJoined,
    AgentLost,
    Event,
    SessionCancelled,
    SessionEnded,
    SessionRequested,
    SessionWaiting,
)
from shared.contracts.sessions import Mode
from tests.unit.cli.fake_api import Api

_REQUESTED = SessionRequested(room_name="r1", agent_name="agent", mode=Mode.PIPELINE)
_JOINED = AgentJoined(attempt=1, participant_identity="agent-1", participant_sid="PA_1", join_seconds=0.4)


async def test_a_problem_is_told_with_its_code_and_detail() -> None:
    api = Api()
    api.answer("POST", "/v1/sessions", 422, {"code": "model_not_allowed", "detail": "not in the list"})
    with pytest.raises(ApiError, match="422 model_not_allowed: not in the list"):
        await api.client().start_session()


async def test_an_api_that_is_away_is_told_with_what_to_do() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = Client(httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://api"))
    with pytest.raises(ApiError, match=r"http://api.*is `make up` running"):
        await client.events("s1")


async def test_the_timeline_shows_each_step_and_turn_once() -> None:
    api, shown = Api(), list[Text]()
    timeline = Timeline(api.client(), "s1", show=shown.append)
    api.happened((0, _REQUESTED))
    api.said("requested")
    await timeline.read()
    api.happened((0, _REQUESTED), (412, _JOINED))
    api.said("active", (1, "assistant", "Hello!"))
    await timeline.read()
    api.happened((0, _REQUESTED), (412, _JOINED), (9000, SessionEnded(reason="over")))
    api.said("ended", (1, "assistant", "Hello!"), (2, "user", "Bye."), complete=True)
    await timeline.read()
    assert [line.plain for line in shown] == [
        "       0 ms  · session stored: room r1, agent agent",
        "     412 ms  · the agent is in the room, proven: agent-1",
        "    1000 ms    agent: Hello!",
        "    2000 ms   caller: Bye.",
        "    9000 ms  · session ended: over",
    ]
    assert timeline.seen("agent.joined.v1")
    assert await timeline.wait_until_over(0)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            SessionWaiting(cause=Cause.WORKERS_AT_CAPACITY, place=3),
            "waits: workers_at_capacity, place 3 in line",
        ),
        (SessionWaiting(cause=Cause.LIVEKIT_UNREACHABLE), "waits: livekit_unreachable"),
        (
            AgentLost(attempt=1, cause=Cause.WORKER_DIED, revival=2),
            "the agent is gone: worker_died; replacement 2 is dispatched",
        ),
        (
            AgentLost(attempt=1, cause=Cause.WORKER_DIED),
            "the agent is gone: worker_died; another is dispatched",
        ),
        (
            SessionCancelled(reason="caller left", cause=Cause.CALLER_LEFT),
            "session cancelled: caller left (caller_left)",
        ),
        (SessionCancelled(reason="ended by request"), "session cancelled: ended by request"),
    ],
)
async def test_a_step_is_told_with_what_is_known_of_it(event: Event, line: str) -> None:
    api, shown = Api(), list[Text]()
    api.happened((0, event))
    api.said("requested")
    await Timeline(api.client(), "s1", show=shown.append).read()
    assert [text.plain for text in shown] == [f"       0 ms  · {line}"]


@pytest.mark.parametrize(
    ("spoken", "stored", "error"),
    [
        ("What is seven plus five?", "what is 7 plus 5", 0),
        ("It's Alice.", "its alice", 0),
        ("one two three four", "one two free four", 0.25),
        ("Hello there", "", 1),
    ],
)
def test_word_error_counts_words_alone(spoken: str, stored: str, error: float) -> None:
    assert word_error(spoken, stored) == pytest.approx(error)


def _outcome(
    *, joined: bool = True, user: str = "Hello there.", answers: int = 2, problem: str | None = None
) -> Outcome:
    turns = [SimpleNamespace(role="user", kind="message", text=user)]
    turns += [SimpleNamespace(role="assistant", kind="message", text="Hello!")] * answers
    timeline: Any = SimpleNamespace(seen=lambda _: joined, events=[], turns=turns)
    return Outcome("s1", timeline, ["Hello there."], problem, [])


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (_outcome(), None),
        (_outcome(joined=False), "did not join"),
        (_outcome(problem="the agent was not heard"), "was not heard"),
        (_outcome(answers=0), "Only 0 of the agent's answers"),
        (_outcome(user="Yellow bear."), "100% of the caller's words"),
    ],
)
def test_a_call_is_judged_by_what_is_in_the_database(outcome: Outcome, verdict: str | None) -> None:
    said = judge(outcome)
    assert (said is None) if verdict is None else (said is not None and verdict in said)
