"""A caller who says nothing: in the room, and that is all."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from livekit import rtc


@asynccontextmanager
async def guest(started: Mapping[str, Any], room: rtc.Room | None = None) -> AsyncIterator[rtc.Room]:
    """Join the room of a session that was started, with its own token; leave at the end."""
    room = room or rtc.Room()
    await room.connect(started["server_url"], started["participant_token"])
    try:
        yield room
    finally:
        await room.disconnect()
