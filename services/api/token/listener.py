"""Let somebody listen in to a session: a token that hears its room, and that nobody in it sees."""

from datetime import datetime, timedelta
from typing import Final

from livekit import api

from services.api.errors.problems import Problem
from services.api.settings import ApiSettings
from shared.contracts.identifiers import new_id
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow

# For joining; LiveKit renews the token of whoever is in the room. A later join would make the room anew.
JOIN_WITHIN: Final = timedelta(seconds=60)


def mint_listener_token(session: SessionRow, settings: ApiSettings) -> str:
    """Return a JWT for a hidden participant who may subscribe and nothing else.

    A hidden participant is listed to nobody in the room, and counts as no caller. Raises `Problem` if the
    session is not active.
    """
    if session.status != SessionStatus.ACTIVE:
        raise Problem(409, "session_not_active", f"nobody can listen in: the session is {session.status}")
    return (
        api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
        .with_identity(f"listener-{new_id()}")
        .with_ttl(JOIN_WITHIN)
        .with_grants(
            api.VideoGrants(
                room_join=True,
                room=session.room_name,
                hidden=True,
                can_subscribe=True,
                can_publish=False,
                can_publish_data=False,
                can_update_own_metadata=False,
            )
        )
        .to_jwt()
    )


def join_until(now: datetime) -> datetime:
    """Return until when a token that is made now lets somebody join."""
    return now + JOIN_WITHIN
