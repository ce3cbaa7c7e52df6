"""The routes of transcripts. Each reads the request, calls one function, and builds the answer."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from services.api.auth.access import Admin, TranscriptsReader
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.http.parameters import Time
from services.api.limits.reading import while_connected
from services.api.sessions.read import session_of
from services.api.transcripts.erase.erase import erase_participant, erase_session
from services.api.transcripts.export.formats import (
    EXPORTS,
    MEDIA_TYPES,
    Export,
    Format,
    file_name,
    wanted_format,
)
from services.api.transcripts.read.conversation import call_started_at, each_turn, read_conversation
from services.api.transcripts.schemas import Erasure, ErasureRequest, Messages, SearchPage, Transcript
from services.api.transcripts.search.search import Filters, Order, search_turns
from shared.contracts.names import Sought
from shared.contracts.sessions import Role
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import utc_now

router = APIRouter(responses=PROBLEMS, tags=["transcripts"])

_MAX_INT = 2**31 - 1


@router.get(
    "/v1/sessions/{session_id}/transcript",
    summary="Read the conversation",
    response_model=Transcript | Messages,
    responses={200: {"content": {media_type: {} for media_type in MEDIA_TYPES}}},
)
async def transcript(
    *,
    request: Request,
    services: Deps,
    asking: TranscriptsReader,
    session_id: str,
    format: Annotated[Format | None, Query(description="default: by the Accept header, or json")] = None,
    limit: Annotated[int, Query(ge=1, le=5000, description="of JSON; exports are whole")] = 1000,
    after_seq: Annotated[int, Query(ge=0, le=_MAX_INT)] = 0,
    accept: Annotated[str, Header()] = "*/*",
) -> Any:
    """Read the conversation so far, in order, with its completeness; or export all of it."""
    reading = services.reading
    wanted = wanted_format(format, accept)

    async def read() -> Transcript | tuple[SessionRow, datetime]:
        async with reading.snapshot(asking.project) as db:
            if wanted is Format.JSON:
                return await read_conversation(
                    db, session_id, project=asking.project, limit=limit, after_seq=after_seq, now=utc_now()
                )
            session = await session_of(db, session_id, asking.project)
            return session, await call_started_at(db, session)

    found = await while_connected(request, read())
    if isinstance(found, Transcript):
        return found
    session, started_at = found
    export: Export = EXPORTS[wanted]
    # An answer that has begun can't be refused any more, so each page waits for a place.
    turns = each_turn(lambda: reading.snapshot(asking.project, patient=True), session_id, started_at)
    return StreamingResponse(
        export.write(session, turns),
        media_type=export.media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file_name(session, export.suffix)}"',
            "Cache-Control": "no-store",
            "Vary": "Accept",
        },
    )


@router.delete("/v1/sessions/{session_id}/transcript", summary="Erase the text of a conversation")
async def erase(services: Deps, asking: Admin, session_id: str) -> Erasure:
    """Erase everything that was said in the session, wherever it is stored, forever.

    Speakers and times stay.
    """
    async with services.reading.place(asking.project):
        return await erase_session(
            session_id, project=asking.project, database=services.database, redis=services.redis, now=utc_now
        )


@router.post("/v1/erasures", summary="Erase what was said with a participant")
async def erase_by_participant(services: Deps, asking: Admin, wanted: ErasureRequest) -> Erasure:
    """Erase the text of every session in which the participant took part."""
    async with services.reading.place(asking.project):  # it reads all turns of the project
        return await erase_participant(
            wanted.participant_identity,
            project=asking.project,
            database=services.database,
            redis=services.redis,
            now=utc_now,
        )


@router.get("/v1/transcripts/search", summary="Search what was said")
async def search(
    *,
    request: Request,
    services: Deps,
    asking: TranscriptsReader,
    q: Annotated[str, Query(max_length=500, description='words, "phrases", -not, OR')],
    since: Time | None = None,
    until: Time | None = None,
    agent_name: Sought | None = None,
    role: Role | None = None,
    session_id: Sought | None = None,
    language: Sought | None = None,
    order: Order = Order.NEWEST,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> SearchPage:
    """Search the turns of every conversation. The period includes `since` and excludes `until`."""
    reading = services.reading

    async def found() -> SearchPage:
        async with reading.place(asking.project):
            return await search_turns(
                reading.database,
                q,
                filters=Filters(since, until, agent_name, role, session_id, language),
                order=order,
                limit=limit,
                cursor=cursor,
                project=asking.project,
            )

    return await while_connected(request, found())
