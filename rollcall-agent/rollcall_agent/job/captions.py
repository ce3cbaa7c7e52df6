"""Publish captions: the caller's words as they are recognised, the agent's as they are spoken.

Captions go to current listeners and are stored nowhere. If Rollcall is slow or down, captions are dropped:
only the latest words of each segment wait to be sent, and the call never waits for them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from livekit.agents.voice.events import UserInputTranscribedEvent
from livekit.agents.voice.io import TextOutput

from rollcall_agent.envelopes import wrap_told
from rollcall_agent.ports import FAILED
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import CaptionChanged
from shared.contracts.sessions import Role
from shared.core.workers.backend import AttemptBackend
from shared.platform.background import stop_all
from shared.platform.clock import utc_now
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# An agent's words come one by one; nobody can read updates faster than this.
INTERVAL_S: Final = 0.1
RETRY_DELAY_S: Final = 1.0
# The most segments that wait to be sent; beyond that, the oldest is dropped.
SEGMENTS: Final = 4


class Captions:
    """Publishes the captions of one session. `show` sends some, and returns whether Rollcall was reached."""

    def __init__(
        self, *, order: DispatchOrder, show: Callable[[list[CaptionChanged]], Awaitable[bool]]
    ) -> None:
        self._order = order
        self._show = show
        self._waiting: dict[str, CaptionChanged] = {}
        self._changed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._segments = {Role.USER: 1, Role.ASSISTANT: 1}
        self.spoken = _Spoken(self)

    def start(self) -> None:
        """Start publishing in the running loop."""
        self._sender = asyncio.create_task(self._send_for_ever(), name="captions")

    async def aclose(self) -> None:
        """Stop, and drop captions that wait."""
        if self._sender is not None:
            await stop_all([self._sender])

    def heard(self, event: UserInputTranscribedEvent, *, caller: str | None) -> None:
        """Publish the caller's words so far, or a finished piece of them."""
        language = str(event.language) if event.language else None
        self.say(
            Role.USER, event.transcript, final=event.is_final, language=language, participant_identity=caller
        )

    def say(self, role: Role, text: str, *, final: bool, **more: str | None) -> None:
        """Publish the words so far of a role's segment; `final` closes it."""
        try:
            self._wait(role, text, final=final, more=more)
        except Exception:  # this runs within the SDK's speech, which must go on
            log.exception("captions_not_published", captions=1)

    def _wait(self, role: Role, text: str, *, final: bool, more: dict[str, str | None]) -> None:
        number = self._segments[role]
        self._segments[role] += final
        segment_id = f"{self._order.attempt}.{role}.{number}"
        self._waiting.pop(segment_id, None)
        while len(self._waiting) >= SEGMENTS:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[segment_id] = CaptionChanged(
            session_id=self._order.session_id,
            attempt=self._order.attempt,
            segment_id=segment_id,
            role=role,
            text=text,
            final=final,
            **more,
        )
        self._changed.set()

    async def _send_for_ever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            waiting, self._waiting = self._waiting, {}
            try:
                reached = await self._show(list(waiting.values()))
            except Exception:  # these are dropped; the next ones may succeed
                log.exception("captions_not_published", captions=len(waiting))
                reached = True
            await asyncio.sleep(INTERVAL_S if reached else RETRY_DELAY_S)


async def show_captions(captions: Sequence[CaptionChanged], *, attempt: AttemptBackend) -> bool:
    """Send captions of one attempt; return whether Rollcall took them."""
    try:
        await attempt.show([wrap_told(caption, time=utc_now()) for caption in captions])
    except FAILED as error:
        log.debug("captions_lost", error=repr(error))
        return False
    return True


class _Spoken(TextOutput):
    """The end of the SDK's chain of text outputs: it gets the agent's words in time with the voice."""

    def __init__(self, captions: Captions) -> None:
        super().__init__(label="captions", next_in_chain=None)
        self._captions = captions
        self._text = ""

    async def capture_text(self, text: str) -> None:
        """Add words that the agent has said."""
        self._text += text
        if self._text.strip():
            self._captions.say(Role.ASSISTANT, self._text.strip(), final=False)

    def flush(self) -> None:
        """Close the segment: the agent has said all of it, or was interrupted."""
        if self._text.strip():
            self._captions.say(Role.ASSISTANT, self._text.strip(), final=True)
        self._text = ""
