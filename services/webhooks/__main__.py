"""The webhooks process: `python -m services.webhooks`."""

import asyncio
import signal

from services.webhooks.bootstrap import open_webhooks
from services.webhooks.settings import WebhooksSettings
from shared.platform.config import load_settings
from shared.platform.garbage import spare_collections
from shared.platform.logs.logs import configure_logs, get_logger

log = get_logger(__name__)


async def _run(settings: WebhooksSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_webhooks(settings):
        log.info("webhook_sender_started", message="sending webhooks")
        await stop.wait()


def main() -> None:
    """Send webhooks until told to stop."""
    settings = load_settings(WebhooksSettings)
    configure_logs(settings, service="webhooks")
    spare_collections()
    asyncio.run(_run(settings))


if __name__ == "__main__":
    main()
