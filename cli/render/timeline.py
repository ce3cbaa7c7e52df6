"""Show a session live: each step with its time since the request, and the turns of both sides."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from cli.client.answers import Caption
from cli.client.client import ApiError, Client, Turn
from cli.render.captions import WHO
from cli.render.show import reason_text, without_agent
from shared.contracts.events import Envelope, Severity
from shared.contracts.sessions import TERMINAL
from shared.platform.background import stop_all
from shared.platform.plain_text import one_line

POLL_S: Final = 0.15

_STEPS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "session.reserved.v1": lambda d: f"token handed out for room {d['room_name']}; waiting for the caller",
    "session.requested.v1": lambda d: f"session stored: room {d['room_name']}, agent {d['agent_name']}",
    "session.waiting.v1": lambda d: f"waits: {d['cause']}{_place(d)}",
    "dispatch.started.v1": lambda d: f"dispatching, attempt {d['attempt']}/{d['max_attempts']}",
    "dispatch.accepted.v1": lambda d: f"LiveKit took the dispatch {d['dispatch_id']}",
    "dispatch.failed.v1": lambda d: f"LiveKit did not take the dispatch: {d['cause']}",
    "agent.assigned.v1": lambda d: f"a worker took the job: {d.get('worker_id') or 'unknown worker'}",
    "agent.joined.v1": lambda d: f"the agent is in the room, proven: {d['participant_identity']}",
    "agent.ready.v1": lambda _: "the agent listens",
    "agent.first_speech.v1": lambda _: "the agent speaks",
    "agent.missing.v1": lambda d: f"no agent came: {d['cause']}; another attempt follows",
    "agent.lost.v1": lambda d: f"the agent is gone: {d['cause']}; {_revival(d)} is dispatched",
    "agent.extra_removed.v1": lambda d: f"a second agent was removed: {d['participant_identity']}",
    "agent.foreign_seen.v1": lambda d: (
        f"an agent of a worker without a name was {'removed' if d['removed'] else 'there'}: "
        f"{d['participant_identity']}"
    ),
    "pool.share_taken_back.v1": lambda d: (
        f"{d['failed']} of {d['sessions']} sessions of pool {d['deployment'] or 'without a name'} failed; "
        f"its share of {d['percent']} % went to another pool"
    ),
    "session.failed.v1": lambda d: (
        f"{without_agent(joined=d.get('agent_joined', False))}: {d['cause']}. {d['advice']}"
    ),
    "session.ended.v1": lambda d: f"session ended: {reason_text(d['reason'])}",
    "session.expired.v1": lambda d: f"reservation expired: {reason_text(d['reason'])}",
    "session.cancelled.v1": lambda d: f"session cancelled: {reason_text(d['reason'])}{_no_agent_yet(d)}",
}
_COLOURS: Final = {Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}


class Timeline:
    """Follows one session. `events` and `turns` are those seen so far; `over` is set at its end.

    It calls `caption` with the words that are being said, and with "" once the turn is shown.
    """

    def __init__(
        self,
        client: Client,
        session_id: str,
        *,
        show: Callable[[Text], None],
        caption: Callable[[Caption], None] | None = None,
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._show = show
        self._caption = caption
        self._shown_turns: set[int] = set()
        self._lines = Lines()
        self.events: list[Envelope] = []
        self.turns: list[Turn] = []
        self.complete: bool | None = None
        self.over = asyncio.Event()
        self._final = asyncio.Event()

    @asynccontextmanager
    async def following(self) -> AsyncIterator["Timeline"]:
        """Show events while the block runs, and the last ones at its end."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._listen())]
        try:
            yield self
        finally:
            await stop_all(tasks)
        with suppress(ApiError):
            await self.read()

    async def wait_until_over(self, timeout_s: float) -> bool:
        """Wait until the session has ended and the completeness of its transcript is known."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._final.wait()
        return self.over.is_set()

    async def wait_until_ended(self, timeout_s: float) -> bool:
        """Wait until the session has ended, without waiting for its transcript."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.over.wait()
        return self.over.is_set()

    def seen(self, event_type: str) -> bool:
        """Return whether an event of this type was seen."""
        return any(event.type == event_type for event in self.events)

    async def read(self) -> None:
        """Read and show new events and turns; raises `ApiError`."""
        events = await self._client.events(self._session_id)
        fresh: list[Envelope | Turn] = [*events[len(self.events) :]]
        self.events = events
        transcript = await self._client.transcript(self._session_id)
        fresh += [turn for turn in transcript.items if turn.seq not in self._shown_turns]
        for news in sorted(fresh, key=moment_of):
            if isinstance(news, Turn):
                self._shown_turns.add(news.seq)
                if self._caption is not None:
                    self._caption(Caption(role=news.role, text=""))
            self._show(self._lines.of(news))
        self.turns = transcript.items
        self.complete = transcript.complete
        if transcript.status in TERMINAL:
            self.over.set()
            if transcript.complete is not None:
                self._final.set()

    async def _follow(self) -> None:
        while True:
            with suppress(ApiError):  # the API may be restarting
                await self.read()
            await asyncio.sleep(POLL_S)

    async def _listen(self) -> None:
        if self._caption is None:
            return
        with suppress(ApiError):
            async for news in self._client.live(self._session_id):
                if isinstance(news.what, Caption):
                    self._caption(news.what)


def moment_of(news: Envelope | Turn) -> datetime:
    """Return when the news happened.

    For a turn, its end, since it began before much that is shown above it.
    """
    return news.time if isinstance(news, Envelope) else news.ended_at or news.created_at


class Lines:
    """The lines of one session on one clock, which starts with the first event.

    The clocks of the agent's host and ours differ, but a line is never earlier than the line above it.
    """

    def __init__(self) -> None:
        self._start: datetime | None = None
        self._last: datetime | None = None

    def of(self, news: Envelope | Turn) -> Text:
        """Return the next line."""
        moment = moment_of(news)
        self._start = self._start or moment
        self._last = max(moment, self._last or moment)
        if isinstance(news, Envelope):
            return event_line(news, self._start, at=self._last)
        return turn_line(news, self._start, at=self._last)


def event_line(event: Envelope, start: datetime, *, at: datetime | None = None) -> Text:
    """Return the line of an event, with its time since `start`; `at` replaces the event's own time."""
    describe = _STEPS.get(event.type)
    try:
        text = describe(event.data) if describe else event.type
    except KeyError:
        text = event.type
    return _stamped(
        at or event.time, start, f"· {one_line(text)}", _COLOURS.get(event.severity, "bright_blue")
    )


def turn_line(turn: Turn, start: datetime, *, at: datetime | None = None) -> Text:
    """Return the line of a turn, with its time since `start`; `at` replaces the turn's own time."""
    style = "green" if turn.role == "user" else "bold"
    text = f"{WHO.get(turn.role, turn.role):>7}: {one_line(turn.text)}"
    return _stamped(
        at or moment_of(turn), start, text + (" (interrupted)" if turn.interrupted else ""), style
    )


def _place(data: Mapping[str, Any]) -> str:
    return f", place {data['place']} in line" if data.get("place") else ""


def _revival(data: Mapping[str, Any]) -> str:
    return f"replacement {data['revival']}" if data.get("revival") else "another"


def _no_agent_yet(data: Mapping[str, Any]) -> str:
    return f" ({data['cause']})" if data.get("cause") else ""


def _stamped(time: datetime, start: datetime, text: str, style: str) -> Text:
    since_ms = (time - start).total_seconds() * 1000
    return Text.assemble((f"{since_ms:8.0f} ms  ", "dim"), (text, style))
