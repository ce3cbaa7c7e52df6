"""/livez and /metrics for a process that has no HTTP server of its own."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.contracts.settings import ProbeSettings


async def start_probe(
    settings: ProbeSettings, *, alive: Callable[[], bool] = lambda: True
) -> web.AppRunner | None:
    """Serve the probe in the running loop; `cleanup()` the result to stop. None if the port is 0.

    `/livez` answers 503 once `alive()` is false: a supervisor should then restart the process.
    """
    if settings.probe_port == 0:
        return None

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok") if alive() else web.Response(status=503, text="not alive")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.probe_host, settings.probe_port).start()
    return runner
