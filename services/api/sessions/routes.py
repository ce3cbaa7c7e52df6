"""The routes of sessions. Each reads the request, calls one function, and builds the answer."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field

from services.api.auth.access import SessionsReader, SessionsWriter
from services.api.deps import Deps
from services.api.errors.problems import NO_AGENT, PROBLEMS
from services.api.http.parameters import Cursor, Several, Time
from services.api.limits.reading import while_connected
from services.api.sessions.end import end_session
from services.api.sessions.idempotency import read_key
from services.api.sessions.read import (
    SessionFilters,
    count_turns,
    get_attempts,
    list_sessions,
    session_of,
)
from services.api.sessions.schemas import Session, SessionPage, Started, StartSession
from services.api.sessions.start_response import start_and_answer
from services.api.sessions.wait import LONGEST_WAIT_S, preferred_wait
from shared.contracts.causes import Cause
from shared.contracts.names import Sought
from shared.contracts.sessions import SessionStatus
from shared.core.admission.wait_queue import place_in_line
from shared.platform.clock import utc_now

router = APIRouter(responses=PROBLEMS)

MetadataValue = Annotated[Sought, Field(pattern=r'^[^="\\]+=')]
"""`name=value`. The name has no character that would end it in a path of SQLite's JSON functions."""


@router.post(
    "/v1/sessions",
    status_code=202,
    tags=["sessions"],
    summary="Start a session",
    responses={200: {"model": Started, "description": "The agent has joined"}, 503: NO_AGENT},
)
async def start(
    services: Deps,
    response: Response,
    asking: SessionsWriter,
    *,
    wanted: StartSession | None = None,
    prefer: Annotated[
        list[str] | None,
        Header(description=f"`wait=N`: answer when the agent has joined; at most {LONGEST_WAIT_S} s"),
    ] = None,
    idempotency_key: Annotated[
        list[str] | None,
        Header(description="your own key for each start: starts with the same key have one effect"),
    ] = None,
) -> Started:
    """Start a session. The caller can join at once; the agent follows.

    With `Prefer: wait=N` the answer is 200 once the agent has joined, 503 if no agent joins, and 202 if it is
    still unknown after N seconds.

    A repeated request with the same `Idempotency-Key` starts nothing, and gets the same answer with
    `Idempotency-Replayed: true`. The answer is 422 if the body differs, and 409 while the first request is
    being answered. A key is remembered for a day, unless IDEMPOTENCY_KEY_TTL_S sets another time.
    """
    wanted = wanted or StartSession()
    key = read_key(idempotency_key or [], wanted, project=asking.project, route="POST /v1/sessions")
    return await start_and_answer(
        wanted,
        asking=asking,
        key=key,
        wait_s=preferred_wait(prefer or []),
        services=services,
        response=response,
    )


@router.get("/v1/sessions", tags=["sessions"], summary="List sessions")
async def list_(
    *,
    request: Request,
    services: Deps,
    asking: SessionsReader,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
    status: Annotated[list[SessionStatus], Query(description="one or several"), Several] = [],  # noqa: B006
    canary: bool | None = None,
    agent_name: Sought | None = None,
    room_name: Sought | None = None,
    participant_identity: Sought | None = None,
    cause: Annotated[
        list[Cause], Query(description="why no agent came; one or several causes"), Several
    ] = [],  # noqa: B006
    since: Annotated[Time | None, Query(description="requested at this time or later")] = None,
    until: Annotated[Time | None, Query(description="requested before")] = None,
    worker_id: Annotated[
        Sought | None, Query(description="of a worker that an attempt chose, or that took its job")
    ] = None,
    metadata: Annotated[
        list[MetadataValue],
        Query(description="`name=value` of the metadata's first level; one or several", max_length=10),
    ] = [],  # noqa: B006
) -> SessionPage:
    """List sessions, newest first. A session has to match all filters."""
    values = dict(each.split("=", 1) for each in metadata)
    filters = SessionFilters(
        agent_name, room_name, participant_identity, cause, since, until, worker_id, values
    )
    reading = services.reading

    async def found() -> SessionPage:
        async with reading.snapshot(asking.project) as db:
            rows, next_cursor = await list_sessions(
                db,
                project=asking.project,
                limit=limit,
                cursor=cursor,
                status=status,
                canary=canary,
                filters=filters,
            )
            turns = await count_turns(db, [row.id for row in rows])
        sessions = [Session.of(row, turns=turns.get(row.id, 0)) for row in rows]
        return SessionPage(sessions=sessions, next_cursor=next_cursor)

    return await while_connected(request, found())


@router.get("/v1/sessions/{session_id}", tags=["sessions"], summary="Read a session")
async def read(services: Deps, asking: SessionsReader, session_id: str) -> Session:
    """Read a session with its attempts."""
    async with services.database.read() as db:
        row = await session_of(db, session_id, asking.project)
        place = await place_in_line(db, row)
        attempts = await get_attempts(db, session_id)
        turns = (await count_turns(db, [session_id])).get(session_id, 0)
    return Session.of(row, attempts, place_in_line=place, turns=turns)


@router.delete("/v1/sessions/{session_id}", tags=["sessions"], summary="End a session")
async def end(services: Deps, asking: SessionsWriter, session_id: str) -> Session:
    """End a session: its agent leaves and its room is closed.

    Other people stay in the room. While anybody but the session's caller is in it, only the agent leaves. The
    same is true if another session has the room's name by then.
    """
    row = await end_session(
        session_id, project=asking.project, database=services.database, relay=services.relay, now=utc_now
    )
    return Session.of(row)
