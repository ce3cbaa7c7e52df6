"""One call from beginning to end: start a session, join as the caller, talk, hang up."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jiwer
from rich.text import Text

from cli.call.caller import AgentSilent, Caller
from cli.client.answers import Caption
from cli.client.client import Client
from cli.render.timeline import Timeline

GREETING_TIMEOUT_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 30.0
# After the caller has hung up, the agent leaves, and the last turns are stored.
END_TIMEOUT_S: Final = 15.0

_NUMBERS: Final = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_NORMALISED: Final = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.SubstituteRegexes({r"'": "", r"[^\w\s]": " "}),
        # A recogniser may write what it hears as digits.
        jiwer.SubstituteWords({str(number): word for number, word in enumerate(_NUMBERS)}),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call. `problem` is why the caller gave up; None if it could say everything."""

    session_id: str
    timeline: Timeline
    spoken: Sequence[str]
    problem: str | None
    answer_seconds: Sequence[float]

    @property
    def joined(self) -> bool:
        """Whether the agent's presence was proven."""
        return self.timeline.seen("agent.joined.v1")

    def turns_of(self, role: str) -> list[str]:
        """Return the stored turns of one side."""
        return [turn.text for turn in self.timeline.turns if turn.role == role and turn.kind == "message"]

    @property
    def word_error(self) -> float:
        """Errors in the stored words of the caller, per spoken word."""
        return word_error(" ".join(self.spoken), " ".join(self.turns_of("user")))


def word_error(spoken: str, stored: str) -> float:
    """Return the word error rate; case, punctuation and digits do not count."""
    if not stored.strip():
        return 1.0
    return float(jiwer.wer(spoken, stored, reference_transform=_NORMALISED, hypothesis_transform=_NORMALISED))


async def hold_conversation(
    client: Client,
    sentences: Sequence[str | bytes],
    *,
    show: Callable[[Text], None],
    caption: Callable[[Caption], None] | None = None,
    agent_name: str | None = None,
) -> Outcome:
    """Call, say each sentence once the agent is quiet, hang up, and wait for the session's end.

    Raises `ApiError`, and `livekit.rtc.ConnectError` if the room can't be joined.
    """
    started = await client.start_session(agent_name=agent_name)
    timeline = Timeline(client, started.session_id, show=show, caption=caption)
    problem: str | None = None
    waits: list[float] = []
    async with timeline.following():
        try:
            async with Caller(server_url=started.server_url, token=started.participant_token) as caller:
                await _unless_over(timeline, caller.wait_until_agent_quiet(GREETING_TIMEOUT_S))
                for sentence in sentences:
                    await caller.say(sentence)
                    answer = caller.wait_until_agent_quiet(ANSWER_TIMEOUT_S)
                    waits.append(await _unless_over(timeline, answer))
        except AgentSilent as silent:
            problem = str(silent)
        if not await timeline.wait_until_over(0 if problem else END_TIMEOUT_S):
            await client.end_session(started.session_id)
            await timeline.wait_until_over(END_TIMEOUT_S)
    spoken = [sentence for sentence in sentences if isinstance(sentence, str)]
    return Outcome(started.session_id, timeline, spoken, problem, waits)


async def _unless_over(timeline: Timeline, wait: Coroutine[Any, Any, float]) -> float:
    """Wait, but only while the session is live; raises `AgentSilent`."""
    waiting = asyncio.create_task(wait)
    over = asyncio.create_task(timeline.over.wait())
    await asyncio.wait([waiting, over], return_when=asyncio.FIRST_COMPLETED)
    over.cancel()
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    raise AgentSilent("the session ended before the conversation")
