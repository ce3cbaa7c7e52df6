"""The route for a session's events: its history at once, or live as they happen."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from services.api.auth.access import Scope, SessionsReader
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, Problem
from services.api.http.accept import preferred
from services.api.live.event_id import MAX_LENGTH, PATTERN, Position
from services.api.live.event_stream import EventStream
from services.api.sessions.read import read_events, session_of
from services.api.sessions.schemas import SessionHistory

router = APIRouter(responses=PROBLEMS)

EVENT_STREAM = "text/event-stream"


@router.get(
    "/v1/sessions/{session_id}/events",
    tags=["sessions"],
    summary="Read or follow the events of a session",
    response_model=SessionHistory,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def events(
    services: Deps,
    asking: SessionsReader,
    session_id: str,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[
        str,
        Header(
            max_length=MAX_LENGTH,
            pattern=PATTERN,
            description="the id of the last event that the client has seen",
        ),
    ] = "",
) -> Any:
    """Read the events of a session.

    With `Accept: text/event-stream`, follow them live until the session is over. The stream also has each
    finished turn, once it is stored, and captions while somebody speaks.
    """
    if EVENT_STREAM not in preferred(accept):
        async with services.reading.snapshot(asking.project) as db:
            await session_of(db, session_id, asking.project)
            return SessionHistory(events=await read_events(db, session_id))
    try:
        after = Position.parse(last_event_id)
    except ValueError as fault:
        raise Problem(422, "invalid_request", f"last-event-id: {fault}") from None
    with_text = Scope.TRANSCRIPTS_READ in asking.scopes
    stream = await services.hub.follow(session_id, asking=asking, after=after, with_text=with_text)
    if stream is None:
        return Response(status_code=204)  # tells an EventSource not to reconnect
    return EventStream(stream, headers={"Vary": "Accept"})
