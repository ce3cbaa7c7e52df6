"""Routes for operators and their probes: liveness, readiness, health, and metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEM_CONTENT, PROBLEMS
from services.api.health.schemas import AgentHealth
from shared.contracts.names import Sought
from shared.platform.clock import utc_now
from shared.platform.http.probe import exposed
from shared.platform.process import rollcall_version

router = APIRouter(responses=PROBLEMS)


class HealthResponse(JSONResponse):
    """The answer as health+json."""

    media_type = "application/health+json"


_HEALTH: dict[int | str, dict[str, Any]] = {
    503: {"description": "Something fails", "content": {HealthResponse.media_type: {}, **PROBLEM_CONTENT}}
}


_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not now", "content": {"application/json": {}, **PROBLEM_CONTENT}}
}


@router.get("/livez", tags=["operations"], summary="Does this process run?")
async def livez() -> dict[str, str]:
    """Answer that this process runs."""
    return {"status": "pass"}


@router.get("/readyz", tags=["operations"], summary="Can a session be accepted?", responses=_READY)
async def readyz(services: Deps) -> JSONResponse:
    """Answer whether a session can be accepted."""
    check = await services.health.ready()
    return JSONResponse(check.as_json(utc_now()), 200 if check.ok else 503)


@router.get(
    "/health",
    tags=["operations"],
    summary="What works, and what does not",
    response_class=HealthResponse,
    responses=_HEALTH,
)
async def health(services: Deps, _: Admin) -> HealthResponse:
    """Show every dependency with its latency, and delays and the last proven join with their age."""
    checks = await services.health.dependencies()
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
    services: Deps,
    _: Admin,
    agent_name: Annotated[
        Sought | None,
        Query(min_length=1, description="default: LIVEKIT_AGENT_NAME, and a summary of the others"),
    ] = None,
) -> JSONResponse:
    """Say whether the next session of an agent's name would get its agent, and if not, why.

    The status is 503 if it would not.
    """
    forecast = services.forecast
    outlook = await (forecast.survey() if agent_name is None else forecast.make_outlook(agent_name))
    return JSONResponse(outlook.as_json(), 200 if outlook.ok else 503)


@router.get("/metrics", tags=["operations"], include_in_schema=False)
async def prometheus_metrics(request: Request, _: Admin) -> Response:
    """Show the metrics in Prometheus' text format, or in OpenMetrics."""
    body, content_type = exposed(request.headers.get("accept", ""))
    return Response(body, media_type=content_type)
