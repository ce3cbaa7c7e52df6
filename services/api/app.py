"""The ASGI application: middleware and the routes of every feature."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from services.api.agent_sockets import routes as agent_sockets
from services.api.agents import routes as agents
from services.api.audit import routes as audit
from services.api.auth.auth_mode import decide_auth, warn_if_open
from services.api.bootstrap import open_services
from services.api.config import routes as config
from services.api.console import routes as console
from services.api.dead_letters import routes as dead_letters
from services.api.errors import pages, problems
from services.api.health import routes as health
from services.api.http import middleware
from services.api.http.cors import allow_origins
from services.api.http.head import AnswerHead
from services.api.http.parameters import OnlyDeclared
from services.api.keys import routes as keys
from services.api.line import routes as line
from services.api.live import routes as live
from services.api.livekit import routes as livekit
from services.api.sessions import routes as sessions
from services.api.settings import ApiSettings
from services.api.stats import routes as stats
from services.api.token import routes as token
from services.api.transcripts import routes as transcripts
from services.api.webhooks import routes as webhooks
from services.api.workers import routes as workers
from shared.platform.process import rollcall_version

ROUTERS: Final = (
    sessions.router,
    line.router,
    live.router,
    stats.router,
    token.router,
    transcripts.router,
    webhooks.router,
    workers.router,
    agents.router,
    keys.router,
    dead_letters.router,
    audit.router,
    console.router,
    config.router,
    livekit.router,
    health.router,
    pages.router,
)


def create_app(settings: ApiSettings) -> FastAPI:
    """Return the ASGI application. It connects when it starts. Raises `Exposed`."""
    auth = decide_auth(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warn_if_open(auth, settings)
        async with open_services(settings) as services:
            app.state.services = services
            yield

    # The API serves these pages itself, not a content network, so that they also work in a closed network.
    app = FastAPIOffline(
        title="Rollcall",
        summary="Every session gets exactly one agent, or the operator knows why.",
        version=rollcall_version(),
        lifespan=lifespan,
        # FastAPI's own telemetry would contain each URL's query, and so what callers said.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    middleware.install(app, settings, auth)
    app.add_middleware(AnswerHead)
    allow_origins(app, settings.cors_allowed_origins)  # the last one added sees a request first
    for each in ROUTERS:
        app.include_router(each, dependencies=[OnlyDeclared])
    app.include_router(agent_sockets.router)
    return app
