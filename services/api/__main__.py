"""The API's process: `python -m services.api`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from uvicorn.config import STARTUP_FAILURE

from services.api.auth.auth_mode import Exposed, decide_auth, warn_if_open
from services.api.bootstrap import open_services
from services.api.errors import pages as problem_pages
from services.api.errors import problems
from services.api.http import middleware as door
from services.api.http.cors import allow_origins
from services.api.http.head import AnswerHead
from services.api.http.parameters import OnlyDeclared
from services.api.http.server import Server, server_config
from services.api.live.event_stream import give_up_unread
from services.api.sessions import routes
from services.api.settings import ApiSettings
from services.api.token import routes as token_source
from services.api.transcripts import routes as transcripts
from services.api.webhooks import routes as webhook_endpoints
from shared.platform.build import tell_build
from shared.platform.config import EXIT_BAD_CONFIGURATION, load_settings
from shared.platform.garbage import spare_collections
from shared.platform.http.listen import listening_socket
from shared.platform.logs.logs import configure_logs, get_logger
from shared.platform.process import rollcall_version
from shared.platform.tracing.tracing import configure_tracing

log = get_logger(__name__)


def create_app(settings: ApiSettings) -> FastAPI:
    """Return the ASGI application; it connects when it starts. Raises `Exposed`."""
    auth = decide_auth(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warn_if_open(auth, settings)
        async with open_services(settings) as services:
            app.state.services = services
            yield

    # Its pages come from here, not from a content network: a closed network has documentation too.
    app = FastAPIOffline(
        title="Rollcall",
        summary="Every session gets exactly one agent, or the operator knows why.",
        version=rollcall_version(),
        lifespan=lifespan,
        # Its own would hold the query of each URL: what is searched for was said by somebody.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    door.install(app, settings, auth)
    app.add_middleware(AnswerHead)
    allow_origins(app, settings.cors_allowed_origins)  # the last is the first to see a request
    for each in (routes, token_source, transcripts, webhook_endpoints, problem_pages):
        app.include_router(each.router, dependencies=[OnlyDeclared])
    return app


def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(ApiSettings)
    configure_logs(settings, service="api")
    configure_tracing(settings, service="api")
    tell_build("api")
    try:
        app = create_app(settings)
    except Exposed as exposed:
        sys.stderr.write(f"{exposed}\n")
        raise SystemExit(EXIT_BAD_CONFIGURATION) from None
    spare_collections()
    try:
        listening = listening_socket(settings.api_host, settings.api_port)
    except OSError as taken:
        log.critical(
            "api_not_listening", message=f"{taken.strerror}; API_HOST and API_PORT (or PORT) say where"
        )
        sys.exit(STARTUP_FAILURE)
    log.info(
        "api_listening", message="the API listens", host=settings.api_host, port=listening.getsockname()[1]
    )
    give_up_unread(listening)
    server = Server(server_config(app, max_connections=settings.api_max_connections))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
