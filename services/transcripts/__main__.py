"""The transcript consumer's process: `python -m services.transcripts`."""

import asyncio
import signal

from services.transcripts.bootstrap import open_consumer
from services.transcripts.settings import TranscriptsSettings
from shared.platform.background import running
from shared.platform.build import tell_build
from shared.platform.config import load_settings
from shared.platform.garbage import spare_collections
from shared.platform.logs.logs import configure_logs, get_logger
from shared.platform.tracing.tracing import configure_tracing

log = get_logger(__name__)


async def _run(settings: TranscriptsSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_consumer(settings) as consumer, running(consumer=consumer.run):
        log.info("transcripts_consumer_started", message="storing transcripts")
        await stop.wait()


def main() -> None:
    """Store turns until told to stop."""
    settings = load_settings(TranscriptsSettings)
    configure_logs(settings, service="transcripts")
    configure_tracing(settings, service="transcripts")
    tell_build("transcripts")
    # All objects of a batch live until it is stored: the garbage collector took a tenth of the time to check
    # them.
    spare_collections()
    asyncio.run(_run(settings))


if __name__ == "__main__":
    main()
