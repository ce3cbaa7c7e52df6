"""LiveKit's TokenSource endpoint: each of its client SDKs can get its token here, by changing one URL."""

from fastapi import APIRouter, Request, Response

from services.api import metrics
from services.api.auth.access import TokenReserver, TranscriptsReader
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, Problem
from services.api.sessions.read import session_of
from services.api.token.listener import join_until, mint_listener_token
from services.api.token.participant_token import mint_participant_token, say_where
from services.api.token.reserve import expires_at, reserve_session
from services.api.token.schemas import ListenerGranted, TokenGranted, TokenRequest
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import utc_now

router = APIRouter(responses=PROBLEMS)


@router.post("/v1/token", status_code=201, tags=["sessions"], summary="Reserve a session for a caller")
# The path that LiveKit's SDKs use under the base URL of a "development token server". Some versions of the
# Flutter SDK accept only the status 200.
@router.post("/api/v2/sandbox/connection-details", status_code=200, include_in_schema=False)
async def token(
    request: Request,
    services: Deps,
    response: Response,
    asking: TokenReserver,
    wanted: TokenRequest | None = None,
) -> TokenGranted:
    """Hand out a token by LiveKit's TokenSource protocol, each time for a new room.

    No agent is dispatched before the caller joins. A token that nobody uses expires quietly.
    """
    wanted = wanted or TokenRequest()

    async def admit(row: SessionRow) -> None:
        if asking.publishable:
            await services.waiting_visitors.admit(row, request.state.network, now=utc_now())

    try:
        row = await reserve_session(
            wanted,
            asking=asking,
            settings=services.settings,
            database=services.database,
            relay=services.relay,
            now=utc_now,
            admit=admit,
        )
    except Problem as problem:
        metrics.token_requested(problem.code)
        raise
    metrics.token_requested("reserved")
    say_where(row, response)
    return TokenGranted(
        server_url=services.settings.client_livekit_url,
        participant_token=mint_participant_token(
            row,
            services.settings,
            metadata=wanted.participant_metadata,
            attributes=wanted.participant_attributes,
        ),
        participant_name=row.participant_name,
        room_name=row.room_name,
        session_id=row.id,
        expires_at=expires_at(row, services.settings),
        events_url=f"/v1/sessions/{row.id}/events",
        ignored=wanted.ignored(),
    )


@router.post(
    "/v1/sessions/{session_id}/listeners",
    status_code=201,
    tags=["sessions"],
    summary="Listen in to a session",
)
async def listen_in(
    services: Deps, response: Response, asking: TranscriptsReader, session_id: str
) -> ListenerGranted:
    """Hand out a token that hears an active session's room. Nobody in the room sees who listens.

    The audit trail has who asked, and when. Whether callers must be told is for you to know.
    """
    async with services.database.read() as db:
        row = await session_of(db, session_id, asking.project)
    token = mint_listener_token(row, services.settings)
    response.headers["Cache-Control"] = "no-store"
    return ListenerGranted(
        server_url=services.settings.client_livekit_url,
        participant_token=token,
        room_name=row.room_name,
        join_until=join_until(utc_now()),
    )
