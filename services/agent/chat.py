"""Receive the texts that callers write, from the moment the agent joins.

The SDK's own handler drops texts that arrive before the session has started, and texts of a sender that the
agent doesn't see yet. The latter is common: LiveKit delivers a text at once, but announces a participant who
publishes no track only every 3 s (`subscriberUpdateInterval` in pkg/rtc/room.go of livekit-server 1.13.5).
"""

import asyncio
from collections.abc import Callable
from typing import Final

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.llm import ChatMessage
from livekit.agents.types import TOPIC_CHAT
from livekit.agents.utils import wait_for_participant
from livekit.agents.voice.room_io import TextInputEvent, TextInputOptions

from services.agent.typed import read_typed
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Three of LiveKit's updates: a sender that none of them announces has left.
UNSEEN_S: Final = 10.0
_answer_as_the_sdk_does = TextInputOptions().text_input_cb


class Chat:
    """The texts to one agent. Each is answered once the session has started and its sender is visible.

    `texts` are the tasks of those that are not answered yet.
    """

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._session: AgentSession[None] | None = None
        self._is_partner: Callable[[str], bool] = lambda _: False
        self._started = asyncio.Event()
        self.texts: set[asyncio.Task[None]] = set()
        self._in_turn = asyncio.Lock()

    def open(self) -> None:
        """Start keeping texts."""
        self._room.register_text_stream_handler(TOPIC_CHAT, self._on_text)

    def start(self, session: AgentSession[None], *, is_partner: Callable[[str], bool]) -> None:
        """Answer the texts so far, and all later ones, in this session.

        `is_partner` returns whether the agent talks with the participant of this identity.
        """
        self._session = session
        self._is_partner = is_partner
        self._started.set()

    async def aclose(self) -> None:
        """Stop receiving, and drop texts that are not answered yet."""
        self._room.unregister_text_stream_handler(TOPIC_CHAT)
        await stop_all(self.texts)

    def _on_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        task = asyncio.create_task(self._take(reader, identity), name="chat")
        self.texts.add(task)
        task.add_done_callback(self.texts.discard)

    async def _take(self, reader: rtc.TextStreamReader, identity: str) -> None:
        try:
            text = await read_typed(reader)
            await self._started.wait()
            await self._answer(text, reader.info, identity)
        except Exception:
            log.exception("text_failed", participant_identity=identity)

    async def _answer(self, text: str | ChatMessage, info: rtc.TextStreamInfo, identity: str) -> None:
        assert self._session is not None
        sender = await self._seen(identity)
        if sender is None or not self._is_partner(identity):
            log.warning("text_ignored", participant_identity=identity, is_seen=sender is not None)
            return
        async with self._in_turn:  # so that the answer to a second text can't overtake the first
            # The SDK passes on the event's content unchanged, and accepts a message as well as a text.
            event = TextInputEvent(text, info, sender)  # type: ignore[arg-type]
            answering = _answer_as_the_sdk_does(self._session, event)
            if answering is not None:
                await answering

    async def _seen(self, identity: str) -> rtc.RemoteParticipant | None:
        try:
            return await asyncio.wait_for(wait_for_participant(self._room, identity=identity), UNSEEN_S)
        except (TimeoutError, RuntimeError):  # RuntimeError: the agent itself has left
            return None
