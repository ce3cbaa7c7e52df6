"""The routes: each reads the request, calls one function, and shapes the answer."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from services.api.auth.access import Admin, Scope, SessionsReader, SessionsWriter
from services.api.bootstrap import services_of
from services.api.errors.problems import NO_AGENT, PROBLEM_CONTENT, PROBLEMS, Problem
from services.api.health.schemas import AgentHealth
from services.api.http.accept import preferred
from services.api.http.parameters import Cursor, Several, Time
from services.api.limits.reading import while_connected
from services.api.live.event_id import MAX_LENGTH, PATTERN, Position
from services.api.live.event_stream import EventStream
from services.api.livekit.webhook import receive_webhook, verify_webhook
from services.api.sessions.end import end_session
from services.api.sessions.idempotency import read_key
from services.api.sessions.read import SessionFilters, get_attempts, list_sessions, read_events, session_of
from services.api.sessions.schemas import (
    Session,
    SessionHistory,
    SessionPage,
    Started,
    StartSession,
    Workers,
)
from services.api.sessions.start_response import start_and_answer
from services.api.sessions.wait import LONGEST_WAIT_S, preferred_wait
from services.api.workers.hide_other_projects import without_strangers
from shared.contracts.causes import Cause
from shared.contracts.names import Sought
from shared.contracts.sessions import SessionStatus
from shared.core.admission.wait_queue import place_in_line
from shared.core.tables import SessionRow
from shared.core.workers.registry import read_fleet
from shared.platform.clock import utc_now
from shared.platform.http.probe import exposed
from shared.platform.process import rollcall_version
from shared.platform.redis.hints import give_hint
from shared.platform.redis.streams import UNREACHABLE

router = APIRouter(responses=PROBLEMS)

EVENT_STREAM = "text/event-stream"


@router.post(
    "/v1/sessions",
    status_code=202,
    tags=["sessions"],
    summary="Start a session",
    responses={200: {"model": Started, "description": "The agent has joined"}, 503: NO_AGENT},
)
async def start(
    request: Request,
    response: Response,
    asking: SessionsWriter,
    *,
    wish: StartSession | None = None,
    prefer: Annotated[
        list[str] | None,
        Header(description=f"`wait=N`: answer when the agent has joined; at most {LONGEST_WAIT_S} s"),
    ] = None,
    idempotency_key: Annotated[
        list[str] | None,
        Header(description="one of your own making for each start: the same key starts nothing twice"),
    ] = None,
) -> Started:
    """Start a session. The caller can join at once; the agent follows.

    With `Prefer: wait=N` the answer is 200 once the agent has joined, 503 if none does, and 202 if it is
    not known after N seconds.

    A request that is sent again with the same `Idempotency-Key` starts nothing and gets the same answer,
    with `Idempotency-Replayed: true`: 422 if its body is another, 409 while the first is being answered.
    A key is remembered for a day, unless IDEMPOTENCY_KEY_TTL_S says otherwise.
    """
    wish = wish or StartSession()
    key = read_key(idempotency_key or [], wish, project=asking.project, route="POST /v1/sessions")
    return await start_and_answer(
        wish,
        asking=asking,
        key=key,
        wait_s=preferred_wait(prefer or []),
        services=services_of(request),
        response=response,
    )


@router.get("/v1/sessions", tags=["sessions"], summary="List sessions")
async def list_(
    *,
    request: Request,
    asking: SessionsReader,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
    status: Annotated[list[SessionStatus], Query(description="one or several"), Several] = [],  # noqa: B006
    canary: bool | None = None,
    agent_name: Sought | None = None,
    room_name: Sought | None = None,
    participant_identity: Sought | None = None,
    cause: Annotated[list[Cause], Query(description="why no agent came; one or several"), Several] = [],  # noqa: B006
    since: Annotated[Time | None, Query(description="requested then or later")] = None,
    until: Annotated[Time | None, Query(description="requested before")] = None,
) -> SessionPage:
    """List sessions, the newest first. Of several filters, all have to fit."""
    filters = SessionFilters(agent_name, room_name, participant_identity, cause, since, until)
    reading = services_of(request).reading

    async def found() -> tuple[Sequence[SessionRow], str | None]:
        async with reading.snapshot(asking.project) as db:
            return await list_sessions(
                db,
                project=asking.project,
                limit=limit,
                cursor=cursor,
                status=status,
                canary=canary,
                filters=filters,
            )

    rows, next_cursor = await while_connected(request, found())
    return SessionPage(sessions=[Session.of(row) for row in rows], next_cursor=next_cursor)


@router.get("/v1/sessions/{session_id}", tags=["sessions"], summary="Read a session")
async def read(request: Request, asking: SessionsReader, session_id: str) -> Session:
    """Read a session with its attempts."""
    async with services_of(request).database.read() as db:
        row = await session_of(db, session_id, asking.project)
        place = await place_in_line(db, row)
        return Session.of(row, await get_attempts(db, session_id), place_in_line=place)


@router.delete("/v1/sessions/{session_id}", tags=["sessions"], summary="End a session")
async def end(request: Request, asking: SessionsWriter, session_id: str) -> Session:
    """End a session: its agent leaves and its room is closed.

    Other people are not put out. While anybody but the session's caller is in the room, only the agent
    leaves. The same is true if another session has the room's name by then.
    """
    services = services_of(request)
    row = await end_session(
        session_id, project=asking.project, database=services.database, relay=services.relay, now=utc_now
    )
    return Session.of(row)


@router.get(
    "/v1/sessions/{session_id}/events",
    tags=["sessions"],
    summary="What happened to a session, or happens now",
    response_model=SessionHistory,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def events(
    request: Request,
    asking: SessionsReader,
    session_id: str,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[
        str,
        Header(max_length=MAX_LENGTH, pattern=PATTERN, description="the id of the last event that was seen"),
    ] = "",
) -> Any:
    """Read what happened to a session; with `Accept: text/event-stream`, live until it is over.

    The stream has each finished turn too, once it is stored, and captions while somebody speaks.
    """
    services = services_of(request)
    if EVENT_STREAM not in preferred(accept):
        async with services.reading.snapshot(asking.project) as db:
            await session_of(db, session_id, asking.project)
            return SessionHistory(events=await read_events(db, session_id))
    try:
        after = Position.parse(last_event_id)
    except ValueError as fault:
        raise Problem(422, "invalid_request", f"last-event-id: {fault}") from None
    with_text = Scope.TRANSCRIPTS_READ in asking.scopes
    stream = await services.follower.follow(session_id, asking=asking, after=after, with_text=with_text)
    if stream is None:
        return Response(status_code=204)  # tells an EventSource not to come back
    return EventStream(stream, headers={"Vary": "Accept"})


@router.get("/v1/workers", tags=["operations"], summary="List agent workers")
async def workers(request: Request, asking: Admin) -> Workers:
    """List the agent workers that live now; of their sessions, those of the key's project."""
    try:
        fleet = await read_fleet(services_of(request).redis)
    except UNREACHABLE as error:
        detail = f"the worker registry can't be read, so it is not known which workers live: {error}"
        raise Problem(503, "registry_unreachable", detail, headers={"Retry-After": "2"}) from None
    return Workers(workers=await without_strangers(services_of(request).database, fleet.workers, asking))


@router.post("/v1/livekit/webhook", tags=["livekit"], include_in_schema=False)
async def livekit_webhook(
    request: Request, authorization: Annotated[str | None, Header()] = None
) -> Response:
    """Take LiveKit's webhooks."""
    services = services_of(request)
    event = verify_webhook(await request.body(), authorization, services.webhook_receiver)
    received = await receive_webhook(
        event,
        database=services.database,
        limits=services.settings,
        join_budget_s=services.settings.join_budget_s,
        now=utc_now,
    )
    for session_id in received.moved:
        services.relay.nudge(session_id)
    for session_id in received.to_look_at:
        services.in_background(give_hint(services.redis, session_id))
    return Response(status_code=200)


class HealthResponse(JSONResponse):
    """In the shape of health+json."""

    media_type = "application/health+json"


_HEALTH: dict[int | str, dict[str, Any]] = {
    503: {"description": "Something fails", "content": {HealthResponse.media_type: {}, **PROBLEM_CONTENT}}
}
_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not now", "content": {"application/json": {}, **PROBLEM_CONTENT}}
}


@router.get("/livez", tags=["operations"], summary="Does this process run?")
async def livez() -> dict[str, str]:
    """This process runs."""
    return {"status": "pass"}


@router.get("/readyz", tags=["operations"], summary="Can a session be accepted?", responses=_READY)
async def readyz(request: Request) -> JSONResponse:
    """A session can be accepted."""
    check = await services_of(request).health.ready()
    return JSONResponse(check.as_json(utc_now()), 200 if check.ok else 503)


@router.get(
    "/health",
    tags=["operations"],
    summary="What works, and what does not",
    response_class=HealthResponse,
    responses=_HEALTH,
)
async def health(request: Request, _: Admin) -> HealthResponse:
    """Every dependency with its latency, and what is late or was last proven with its age."""
    checks = await services_of(request).health.dependencies()
    ok = all(check.ok for check in checks.values())
    well = all(check.status == "pass" for check in checks.values())
    body = {
        "status": ("pass" if well else "warn") if ok else "fail",
        "version": rollcall_version(),
        "serviceId": "rollcall",
        "checks": {name: [check.as_json(utc_now())] for name, check in checks.items()},
    }
    return HealthResponse(body, 200 if ok else 503)


@router.get(
    "/health/agent",
    tags=["operations"],
    summary="Would the next session get its agent?",
    response_model=AgentHealth,
    responses={503: {"model": AgentHealth, "description": "Not now", "content": PROBLEM_CONTENT}},
)
async def health_agent(
    request: Request,
    _: Admin,
    agent_name: Annotated[
        Sought | None, Query(min_length=1, description="default: LIVEKIT_AGENT_NAME, and the others in short")
    ] = None,
) -> JSONResponse:
    """Would the next session of an agent's name get its agent, and if not, why? 503: it would not."""
    forecast = services_of(request).forecast
    outlook = await (forecast.survey() if agent_name is None else forecast.look(agent_name))
    return JSONResponse(outlook.as_json(), 200 if outlook.ok else 503)


@router.get("/metrics", tags=["operations"], include_in_schema=False)
async def prometheus_metrics(request: Request, _: Admin) -> Response:
    """Metrics in Prometheus' text format, or in OpenMetrics."""
    body, content_type = exposed(request.headers.get("accept", ""))
    return Response(body, media_type=content_type)
