"""Identifiers as types, and the functions that make them."""

from datetime import UTC, datetime
from typing import NewType

import uuid_utils

SessionId = NewType("SessionId", str)
EventId = NewType("EventId", str)


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): unique, and ordered by the millisecond in which it was made."""
    return str(uuid_utils.uuid7())


def first_id(time: datetime) -> str:
    """Return a lower bound for ids: those made before this time sort below it, later ones do not."""
    milliseconds = f"{max(0, int(time.timestamp() * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"


def made_at(new: str) -> datetime | None:
    """Return when `new_id` made this id; None if it is not a UUIDv7."""
    try:
        made = uuid_utils.UUID(new)
    except ValueError:
        return None
    return datetime.fromtimestamp((made.int >> 80) / 1000, tz=UTC) if made.version == 7 else None


def new_caller_identity(session_id: SessionId) -> str:
    """Return the participant identity for the caller of a session that named none."""
    return f"caller-{session_id[-12:]}"


def new_room_name(session_id: SessionId) -> str:
    """Return the room name for a session that asked for none.

    The random tail of the session's UUIDv7 is enough: two sessions never share a room.
    """
    return f"room-{session_id.replace('-', '')[-20:]}"
