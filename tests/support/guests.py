"""Silent people in a room: a session's caller, and others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from livekit import api, rtc

from devstack.stack import Stack


@asynccontextmanager
async def guest(started: Mapping[str, Any], room: rtc.Room | None = None) -> AsyncIterator[rtc.Room]:
    """Join the room of a session that was started, with its own token; leave at the end."""
    room = room or rtc.Room()
    await room.connect(started["server_url"], started["participant_token"])
    try:
        yield room
    finally:
        await room.disconnect()


def stranger(stack: Stack, room_name: str, identity: str, *, kind: str = "standard") -> dict[str, Any]:
    """Return what a person needs to be a `guest` without a session."""
    token = api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret).with_identity(identity)
    token = token.with_grants(api.VideoGrants(room_join=True, room=room_name))
    token.claims.kind = kind  # the SDK doesn't know all that the server does
    return {"server_url": stack.livekit_url, "participant_token": token.to_jwt()}
