"""The transcript consumer's process: `python -m services.transcripts`."""

import asyncio
import signal

from services.transcripts.bootstrap import open_consumer
from services.transcripts.settings import TranscriptsSettings
from shared.runtime.config import load_settings
from shared.runtime.logs import configure_logs, get_logger
from shared.runtime.probe import start_probe

log = get_logger(__name__)


async def _run(settings: TranscriptsSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_consumer(settings) as consumer:
        consuming = asyncio.create_task(consumer.run())
        probe = await start_probe(settings, alive=lambda: not consuming.done())
        log.info("storing transcripts")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if probe is not None:
            await probe.cleanup()
        if consuming.done():
            consuming.result()  # it never ends by itself: raise what ended it
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


def main() -> None:
    """Store turns until told to stop."""
    settings = load_settings(TranscriptsSettings)
    configure_logs(settings, service="transcripts")
    asyncio.run(_run(settings))


if __name__ == "__main__":
    main()
