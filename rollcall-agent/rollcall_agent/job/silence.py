"""Keep back the first words that the user's code says by itself, where they are out of place.

An agent that takes a conversation over does not greet again: it answers the caller's last words, or waits.
The agent of a canary talks to nobody, and says nothing at all.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from livekit.agents import AgentSession
from livekit.agents.voice.events import ConversationItemAddedEvent, UserInputTranscribedEvent
from livekit.agents.voice.speech_handle import SpeechHandle

from rollcall_agent.job.listen import guarded
from shared.platform.logs.logs import get_logger

# After the start of the session; what the code says by itself later is no greeting.
GREETING_S: Final = 10.0

log = get_logger(__name__)


class Silence:
    """Guards one session from before its start. `always`: to the end, as for a canary."""

    def __init__(self, session: AgentSession[Any], *, always: bool) -> None:
        self._always = always
        self._kept = True
        self._reply = session.generate_reply
        # Of this session alone; a reply to the caller's words takes another way through the SDK.
        session.say = self._held(session.say)  # type: ignore[method-assign]
        session.generate_reply = self._held(session.generate_reply)  # type: ignore[method-assign]
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("conversation_item_added", self._on_item)

    def started(self, *, reply: bool) -> None:
        """The session has started. `reply`: the caller waits for an answer to what the agent before heard."""
        asyncio.get_running_loop().call_later(GREETING_S, self._end)
        if reply and not self._always:
            self._reply()

    def _held(self, speak: Callable[..., SpeechHandle]) -> Callable[..., SpeechHandle]:
        def hold(*args: Any, **options: Any) -> SpeechHandle:
            if options.get("user_input"):
                self._end()  # the caller has written
            if not self._kept:
                return speak(*args, **options)
            log.info("greeting_left_out", is_canary=self._always)
            nothing = SpeechHandle.create()
            nothing._mark_done()
            return nothing

        return hold

    def _end(self) -> None:
        self._kept = self._always

    @guarded
    def _on_transcribed(self, _: UserInputTranscribedEvent) -> None:
        self._end()

    @guarded
    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        if getattr(event.item, "role", None) == "user":
            self._end()
