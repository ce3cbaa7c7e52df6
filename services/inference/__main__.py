"""The inference process: `python -m services.inference`."""

import asyncio
import logging
import signal
import sys

from services.inference.bootstrap import serve
from services.inference.ports import EngineMissing
from services.inference.settings import InferenceSettings
from shared.platform.build import tell_build
from shared.platform.config import EXIT_BAD_CONFIGURATION, load_settings
from shared.platform.logs.logs import configure_logs, get_logger

_log = get_logger(__name__)


async def _run(settings: InferenceSettings) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await serve(settings, stop=stop)


def main() -> None:
    """Run until SIGTERM or SIGINT; exit code 2 if an engine is missing, 1 if the port is taken."""
    settings = load_settings(InferenceSettings)
    configure_logs(settings, service="inference")
    tell_build("inference")
    logging.captureWarnings(True)  # PyJWT warns about short secrets, such as LiveKit's own for development
    try:
        asyncio.run(_run(settings))
    except EngineMissing as missing:
        _log.critical("engine_missing", reason=str(missing))
        sys.exit(EXIT_BAD_CONFIGURATION)
    except OSError as refused:
        _log.critical("cannot_listen", reason=str(refused))
        sys.exit(1)


if __name__ == "__main__":
    main()
