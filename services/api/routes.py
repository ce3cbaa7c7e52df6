"""The routes: each reads the request, calls one function, and shapes the answer."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sse_starlette import EventSourceResponse

from services.api import metrics
from services.api.bootstrap import Services, services_of
from services.api.end import end_session
from services.api.problems import NO_AGENT, PROBLEMS, Problem
from services.api.read import (
    get_attempts,
    get_session,
    list_sessions,
    read_events,
)
from services.api.schemas import (
    Session,
    SessionHistory,
    SessionPage,
    Started,
    StartSession,
    Timings,
    Workers,
)
from services.api.start import start_session
from services.api.tokens import mint_participant_token
from services.api.wait import LONGEST_WAIT_S, check_not_lost, is_settled, preferred_wait
from services.api.webhook import receive_webhook, verify_webhook
from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.runtime.build import rollcall_version
from shared.runtime.clock import utc_now
from shared.runtime.hints import give_hint
from shared.runtime.registry import read_fleet
from shared.runtime.streams import UNREACHABLE
from shared.runtime.tables import SessionRow
from shared.runtime.waiting import place_in_line

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
    wish: StartSession | None = None,
    prefer: Annotated[
        list[str] | None,
        Header(description=f"`wait=N`: answer when the agent has joined; at most {LONGEST_WAIT_S} s"),
    ] = None,
) -> Started:
    """Start a session. The caller can join at once; the agent follows.

    With `Prefer: wait=N` the answer is 200 once the agent has joined, 503 if none does, and 202 if it is
    not known after N seconds.
    """
    services = services_of(request)
    row = await _start(wish or StartSession(), services)
    response.headers["Location"] = f"/v1/sessions/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    wait_s = preferred_wait(prefer or [])
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        row = await services.follower.until(row.id, is_settled, timeout_s=wait_s)
        check_not_lost(row, headers=dict(response.headers))
        response.status_code = 200 if is_settled(row) else 202
    return Started(
        session_id=row.id,
        room_name=row.room_name,
        server_url=services.settings.livekit_public_url or services.settings.livekit_url,
        participant_token=mint_participant_token(row, services.settings),
        participant_identity=row.participant_identity,
        status=SessionStatus(row.status),
        agent_identity=row.agent_identity,
        timings=Timings.model_validate(row, from_attributes=True),
    )


async def _start(wish: StartSession, services: Services) -> SessionRow:
    try:
        row = await start_session(
            wish,
            settings=services.settings,
            database=services.database,
            relay=services.relay,
            now=utc_now,
        )
    except Problem as problem:
        metrics.session_refused(problem.code)
        raise
    metrics.session_started()
    return row


@router.get("/v1/sessions", tags=["sessions"], summary="List sessions")
async def list_(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9a-f-]+$")] = None,
    status: SessionStatus | None = None,
    canary: bool | None = None,
) -> SessionPage:
    """List sessions, the newest first."""
    async with services_of(request).database.read() as db:
        rows, next_cursor = await list_sessions(db, limit=limit, cursor=cursor, status=status, canary=canary)
    return SessionPage(sessions=[Session.of(row) for row in rows], next_cursor=next_cursor)


@router.get("/v1/sessions/{session_id}", tags=["sessions"], summary="Read a session")
async def read(request: Request, session_id: str) -> Session:
    """Read a session with its attempts."""
    async with services_of(request).database.read() as db:
        row = await get_session(db, session_id)
        place = await place_in_line(db, row)
        return Session.of(row, await get_attempts(db, session_id), place_in_line=place)


@router.delete("/v1/sessions/{session_id}", tags=["sessions"], summary="End a session")
async def end(request: Request, session_id: str) -> Session:
    """End a session: its agent is sent away and its room closed."""
    services = services_of(request)
    row = await end_session(session_id, database=services.database, relay=services.relay, now=utc_now)
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
    session_id: str,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[int, Header(ge=0)] = 0,
) -> Any:
    """Read what happened to a session; with `Accept: text/event-stream`, live until it is over."""
    services = services_of(request)
    async with services.database.read() as db:
        row = await get_session(db, session_id)
        if EVENT_STREAM not in accept:
            return SessionHistory(events=await read_events(db, session_id))
    if row.status in TERMINAL and last_event_id >= row.last_sequence:
        return Response(status_code=204)  # tells an EventSource not to come back
    return EventSourceResponse(services.follower.follow(session_id, after=last_event_id))


@router.get("/v1/workers", tags=["operations"], summary="List agent workers")
async def workers(request: Request) -> Workers:
    """List the agent workers that live now."""
    try:
        fleet = await read_fleet(services_of(request).redis)
    except UNREACHABLE as error:
        detail = f"the worker registry can't be read, so it is not known which workers live: {error}"
        raise Problem(503, "registry_unreachable", detail, headers={"Retry-After": "2"}) from None
    return Workers(workers=fleet.workers)


@router.post("/v1/livekit/webhook", tags=["livekit"], include_in_schema=False)
async def livekit_webhook(
    request: Request, authorization: Annotated[str | None, Header()] = None
) -> Response:
    """Take LiveKit's webhooks."""
    services = services_of(request)
    event = verify_webhook(await request.body(), authorization, services.webhook_receiver)
    for session_id in await receive_webhook(event, database=services.database, now=utc_now):
        services.in_background(give_hint(services.redis, session_id))
    return Response(status_code=200)


@router.get("/livez", tags=["operations"], summary="Does this process run?")
async def livez() -> dict[str, str]:
    """This process runs."""
    return {"status": "pass"}


@router.get("/readyz", tags=["operations"], summary="Can a session be accepted?")
async def readyz(request: Request) -> JSONResponse:
    """A session can be accepted."""
    check = await services_of(request).health.ready()
    return JSONResponse(check.as_json(utc_now()), 200 if check.ok else 503)


@router.get("/health", tags=["operations"], summary="What works, and what does not")
async def health(request: Request) -> JSONResponse:
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
    return JSONResponse(body, 200 if ok else 503, media_type="application/health+json")


@router.get("/health/agent", tags=["operations"], summary="Would the next session get its agent?")
async def health_agent(request: Request) -> JSONResponse:
    """Would the next session get its agent, and if not, why?"""
    outlook = await services_of(request).forecast.look()
    return JSONResponse(outlook.as_json(), 200 if outlook.ok else 503)


@router.get("/metrics", tags=["operations"], include_in_schema=False)
async def prometheus_metrics() -> Response:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
