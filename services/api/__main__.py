"""The API's process: `python -m services.api`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from services.api import problems, transcripts
from services.api.bootstrap import open_services
from services.api.routes import router
from services.api.settings import ApiSettings
from shared.runtime.build import rollcall_version, tell_build
from shared.runtime.config import load_settings
from shared.runtime.logs import configure_logs, get_logger

log = get_logger(__name__)


def create_app(settings: ApiSettings) -> FastAPI:
    """Return the ASGI application; it connects when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            yield

    # Its pages come from here, not from a content network: a closed network has documentation too.
    app = FastAPIOffline(
        title="Rollcall",
        summary="Every session gets exactly one agent, or the operator knows why.",
        version=rollcall_version(),
        lifespan=lifespan,
    )
    problems.install(app)
    app.include_router(router)
    app.include_router(transcripts.router)
    return app


def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(ApiSettings)
    configure_logs(settings, service="api")
    tell_build("api")
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
