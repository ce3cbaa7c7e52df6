"""One follower: what it has received, and what it gets next."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from sse_starlette import ServerSentEvent

from services.api.auth.access import Principal
from services.api.errors.problems import Problem
from services.api.live.event_id import Position
from services.api.live.session_feed import SessionFeed
from shared.contracts.events import CaptionChanged, Envelope

# A slow follower gets only the latest words of each segment, and nothing of older segments.
_SEGMENTS: Final = 4


class Follower:
    """A client that follows something; `asking` is whose key it uses."""

    def __init__(self, asking: Principal) -> None:
        self.asking = asking
        self.ended: Problem | None = None
        self.wake = asyncio.Event()

    def end(self, why: Problem) -> None:
        """End the stream; `ended` holds `why`."""
        self.ended = why
        self.wake.set()


class Subscriber(Follower):
    """Sends what the follower of a session has not received.

    Captions have no id, so reconnecting clients cannot request old captions.
    """

    def __init__(
        self, feed: SessionFeed, *, after: Position, with_text: bool, asking: Principal | None = None
    ) -> None:
        super().__init__(asking or Principal())
        self.feed = feed
        self.with_text = with_text
        self._position = after
        self._again: dict[int, int] = {}
        self._captions: dict[str, ServerSentEvent] = {}

    @property
    def has_all(self) -> bool:
        """Whether the follower has received everything that is known."""
        return self._position.sequence >= self.feed.sequence and not self._backlog()

    def caption(self, envelope: Envelope, caption: CaptionChanged) -> None:
        """Queue a caption, replacing the previous one of its segment."""
        self._captions.pop(caption.segment_id, None)
        while len(self._captions) >= _SEGMENTS:
            del self._captions[next(iter(self._captions))]
        data = envelope.model_dump_json(exclude_none=True)
        self._captions[caption.segment_id] = ServerSentEvent(data=data, event=envelope.type)
        self.wake.set()

    async def events(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield everything after the position, and what follows, until the session is over."""
        turns = self._backlog()
        self._again = {seq: times for _, seq in turns if (times := self._position.times(seq))}
        known = len(self.feed.arrivals)
        while True:
            over = self.feed.over  # read first: everything known by then is sent below
            async for event in self._send_events():
                yield event
            async for event in self._send_turns(turns):
                yield event
            if self.feed.erased:
                self._captions.clear()
            while self._captions:
                yield self._captions.pop(next(iter(self._captions)))
            if over:
                return
            await self.wake.wait()
            self.wake.clear()
            if self.ended is not None:
                return
            turns, known = self.feed.arrivals[known:], len(self.feed.arrivals)

    def _backlog(self) -> list[tuple[str, int]]:
        """Return the turns that the position lacks.

        If two turns have one number and the position has it once, return both.
        """
        if not self.with_text:
            return []
        found = Counter(seq for _, seq in self.feed.arrivals)
        missing = [turn for turn in self.feed.arrivals if found[turn[1]] > self._position.times(turn[1])]
        return sorted(missing, key=lambda turn: (turn[1], turn[0]))

    async def _send_events(self) -> AsyncIterator[ServerSentEvent]:
        while self._position.sequence < self.feed.sequence:
            for envelope in await self.feed.events_after(self._position.sequence):
                self._position.sequence = envelope.sequence or self.feed.sequence
                yield self._numbered(envelope)

    async def _send_turns(self, turns: list[tuple[str, int]]) -> AsyncIterator[ServerSentEvent]:
        if not self.with_text:
            return
        async for seq, envelope in self.feed.turns_of(turns):
            if self._again.get(seq):
                self._again[seq] -= 1
            else:
                self._position.add_turn(seq)
            yield self._numbered(envelope)

    def _numbered(self, envelope: Envelope) -> ServerSentEvent:
        data = envelope.model_dump_json(exclude_none=True)
        return ServerSentEvent(data=data, event=envelope.type, id=str(self._position))
