"""A participant in a LiveKit room who records everything that the room sends."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc


@dataclass
class Heard:
    """What was received: each room event as LiveKit's SDK got it.

    The topics on which there was a text, bytes or a packet; and what was in those that nobody else in this
    process takes.
    """

    events: list[bytes] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    contents: list[bytes] = field(default_factory=list)

    def everything(self) -> bytes:
        """Return everything as one text for searching."""
        return b"\n".join([*self.events, *map(str.encode, self.topics), b"".join(self.contents)])


def eavesdrop(room: rtc.Room) -> Heard:
    """Record what this room sends from now on; call it before joining the room."""
    heard = Heard()
    reading: set[asyncio.Task[None]] = set()
    on_event = room._on_room_event

    def note(event: Any) -> None:
        heard.events.append(event.SerializeToString())
        which = event.WhichOneof("message")
        if which in ("text_stream_opened", "byte_stream_opened"):
            topic = getattr(event, which).reader.info.topic
            heard.topics.add(topic)
            handlers = room._text_stream_handlers if which[0] == "t" else room._byte_stream_handlers
            handlers.setdefault(topic, take)
        on_event(event)

    async def read(reader: rtc.TextStreamReader | rtc.ByteStreamReader) -> None:
        async for piece in reader:
            heard.contents.append(piece if isinstance(piece, bytes) else piece.encode())

    def take(reader: Any, _: str) -> None:
        task = asyncio.create_task(read(reader))
        reading.add(task)
        task.add_done_callback(reading.discard)

    def take_packet(packet: rtc.DataPacket) -> None:
        heard.topics.add(packet.topic or "")
        heard.contents.append(packet.data)

    room._on_room_event = note  # type: ignore[method-assign]
    room.on("data_received", take_packet)
    return heard
