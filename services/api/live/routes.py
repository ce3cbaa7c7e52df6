"""The routes for events: of a session, its history at once or live; of a project, live."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response

from services.api.auth.access import Scope, SessionsReader
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, Problem
from services.api.http.accept import preferred
from services.api.live.event_id import MAX_LENGTH, PATTERN, Position
from services.api.live.event_stream import EventStream
from services.api.sessions.read import read_events, session_of
from services.api.sessions.schemas import SessionHistory
from shared.contracts.identifiers import made_at

router = APIRouter(responses=PROBLEMS)

EVENT_STREAM = "text/event-stream"
MOST_SESSIONS: Final = 16


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


@router.get(
    "/v1/events",
    tags=["sessions"],
    summary="Follow the events of the project",
    response_class=Response,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def project_events(
    *,
    services: Deps,
    asking: SessionsReader,
    session_id: Annotated[
        list[str],
        Query(max_length=MOST_SESSIONS, description="also follow these sessions, each from its begin"),
    ] = [],  # noqa: B006 - FastAPI copies it
    after: Annotated[
        str, Query(max_length=36, description="an id of this stream, for clients that can't set its header")
    ] = "",
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[
        str, Header(max_length=36, description="the id of the last event that the client has seen")
    ] = "",
) -> Response:
    """Follow what happens to the sessions of the project, with `Accept: text/event-stream`.

    The stream begins with `position`: it has the events after the id that was sent, if `resumed` is true, and
    otherwise only those from now on. An id is valid for a day. After a reconnect, the events of the last
    half minute come again, with the ids that they had. The stream has no words of callers, except
    those of the sessions in `session_id`: their streams are in it, for a key with `transcripts:read` with
    their turns and captions.
    """
    if EVENT_STREAM not in preferred(accept):
        raise Problem(422, "invalid_request", f"this is a stream: send Accept: {EVENT_STREAM}")
    position = last_event_id or after
    if position and made_at(position) is None:
        raise Problem(422, "invalid_request", f"last-event-id: {position!r} is no id of this stream")
    stream = await services.hub.follow_project(
        asking=asking,
        after=position,
        session_ids=list(dict.fromkeys(session_id)),
        with_text=Scope.TRANSCRIPTS_READ in asking.scopes,
    )
    return EventStream(stream, headers={"Vary": "Accept"})
