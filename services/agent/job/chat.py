"""Take what callers write, from the moment the agent joins.

The SDK's own handler drops what is written before the session has started, and by somebody whom the agent
doesn't see yet. The latter is common: LiveKit passes a text on at once, but tells of a participant who
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

from services.agent.job.typed import read_typed
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Three of LiveKit's updates: somebody of whom none tells has left.
UNSEEN_S: Final = 10.0
_answer_as_the_sdk_does = TextInputOptions().text_input_cb


class Chat:
    """The texts that are sent to one agent. Each is answered once there is a session and a sender."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._session: AgentSession[None] | None = None
        self._is_partner: Callable[[str], bool] = lambda _: False
        self._started = asyncio.Event()
        self._texts: set[asyncio.Task[None]] = set()
        self._in_turn = asyncio.Lock()

    def open(self) -> None:
        """Keep what is written from now on."""
        self._room.register_text_stream_handler(TOPIC_CHAT, self._on_text)

    def start(self, session: AgentSession[None], *, is_partner: Callable[[str], bool]) -> None:
        """Answer, in this session, what has been written and what will be.

        is_partner: asked of somebody in the room, by identity: whether the agent talks with them.
        """
        self._session = session
        self._is_partner = is_partner
        self._started.set()

    async def aclose(self) -> None:
        """Take no more; what is not answered yet is given up."""
        self._room.unregister_text_stream_handler(TOPIC_CHAT)
        await stop_all(self._texts)

    def _on_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        task = asyncio.create_task(self._take(reader, identity), name="chat")
        self._texts.add(task)
        task.add_done_callback(self._texts.discard)

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
        async with self._in_turn:  # or the answer to the second of two may overtake the first
            # The SDK hands on what is in the event as it is, and takes a message as well as a text.
            event = TextInputEvent(text, info, sender)  # type: ignore[arg-type]
            answering = _answer_as_the_sdk_does(self._session, event)
            if answering is not None:
                await answering

    async def _seen(self, identity: str) -> rtc.RemoteParticipant | None:
        try:
            return await asyncio.wait_for(wait_for_participant(self._room, identity=identity), UNSEEN_S)
        except (TimeoutError, RuntimeError):  # the latter: the agent itself has left
            return None
