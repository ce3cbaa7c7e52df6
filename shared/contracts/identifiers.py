"""Identifiers as types, and how they are made."""

from typing import NewType

import uuid_utils

SessionId = NewType("SessionId", str)
EventId = NewType("EventId", str)


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): unique, and ordered by the millisecond it was made in."""
    return str(uuid_utils.uuid7())


def new_caller_identity(session_id: SessionId) -> str:
    """Return the participant identity for the caller of a session that named none."""
    return f"caller-{session_id[-12:]}"


def new_room_name(session_id: SessionId) -> str:
    """Return the room name for a session that asked for none.

    The random tail of the session's UUIDv7 is enough: two sessions never share a room.
    """
    return f"room-{session_id.replace('-', '')[-20:]}"
