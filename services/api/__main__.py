"""The API's process: `python -m services.api`."""

import sys
from contextlib import suppress

from uvicorn.config import STARTUP_FAILURE

from services.api.app import create_app
from services.api.auth.auth_mode import Exposed
from services.api.http.server import Server, server_config
from services.api.live.event_stream import give_up_unread
from services.api.settings import ApiSettings
from shared.platform.build import tell_build
from shared.platform.config import EXIT_BAD_CONFIGURATION, load_settings
from shared.platform.garbage import spare_collections
from shared.platform.http.listen import listening_socket
from shared.platform.logs.logs import configure_logs, get_logger
from shared.platform.tracing.tracing import configure_tracing

log = get_logger(__name__)


def main() -> None:
    """Serve until told to stop.

    Raises `SystemExit` with 2 for a bad configuration, 3 if it can't listen or start.
    """
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
            "api_not_listening", message=f"{taken.strerror}; API_HOST and API_PORT (or PORT) set the address"
        )
        sys.exit(STARTUP_FAILURE)
    log.info(
        "api_listening",
        message="the API listens; its console is under /console/",
        host=settings.api_host,
        port=listening.getsockname()[1],
    )
    give_up_unread(listening)
    server = Server(server_config(app, max_connections=settings.api_max_connections))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
