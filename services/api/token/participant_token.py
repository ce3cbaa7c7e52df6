"""Make the token with which a caller joins its session's room, and which allows nothing else."""

from datetime import timedelta

from fastapi import Response
from livekit import api

from services.api.settings import ApiSettings
from shared.core.sessions.tables import SessionRow


def mint_participant_token(
    session: SessionRow,
    settings: ApiSettings,
    *,
    metadata: str | None = None,
    attributes: dict[str, str] | None = None,
) -> str:
    """Return a short-lived JWT for this room only. `metadata` and `attributes` are the participant's.

    It never carries `room_config.agents`: together with our own dispatch, that would make two agents.
    """
    token = (
        api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
        .with_identity(session.participant_identity)
        .with_ttl(timedelta(seconds=settings.participant_token_ttl_s))
        .with_grants(
            api.VideoGrants(
                room_join=True,
                room=session.room_name,
                can_publish=True,
                can_subscribe=True,
                can_publish_data=True,
            )
        )
    )
    if session.participant_name:
        token = token.with_name(session.participant_name)
    if metadata:
        token = token.with_metadata(metadata)
    if attributes:
        token = token.with_attributes(attributes)
    return token.to_jwt()


def say_where(session: SessionRow, response: Response) -> None:
    """Set the headers of an answer that hands out a token: where its session is, and that nobody keeps it."""
    response.headers["Location"] = f"/v1/sessions/{session.id}"
    response.headers["Cache-Control"] = "no-store"
