"""An inference endpoint that is out of order: it answers every request with one status."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from devstack.ports import free_port


class BrokenInference:
    """Answers with `status`, which may be changed; `close()` makes it refuse connections."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = 401

    @property
    def url(self) -> str:
        """For LIVEKIT_INFERENCE_URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def open(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._refuse)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def close(self) -> None:
        """Refuse every connection from now on."""
        await self._runner.cleanup()

    async def _refuse(self, _: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "out of order"}}, status=self.status)


@asynccontextmanager
async def broken_inference() -> AsyncIterator[BrokenInference]:
    """An endpoint that listens, and answers 401."""
    endpoint = BrokenInference()
    await endpoint.open()
    try:
        yield endpoint
    finally:
        await endpoint.close()
