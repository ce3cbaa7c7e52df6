"""/livez, /readyz and /metrics for a process that has no HTTP server of its own."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from shared.contracts.settings import ProbeSettings
from shared.platform.descriptors import most_callers
from shared.platform.http.connections import Connections
from shared.platform.http.listen import listening_socket
from shared.platform.http.site import PatientSite

# Enough for a supervisor and a few scrapers; more are a mistake.
MOST_CONNECTIONS: Final = 100
# The limit for reading the rest of an unexpected body.
LINGERING_S: Final = 1.0


def exposed(accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, in the requested format. Only OpenMetrics has exemplars."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type


async def _nothing_missing() -> str | None:
    return None


async def start_probe(
    settings: ProbeSettings,
    *,
    alive: Callable[[], bool] = lambda: True,
    ready: Callable[[], Awaitable[str | None]] = _nothing_missing,
) -> web.AppRunner | None:
    """Serve the probe in the running loop. Call `cleanup()` on the result to stop it. None if the port is 0.

    `/livez` answers 503 once `alive()` is false: a supervisor should then restart the process. `/readyz`
    answers 503 with what `ready()` reports as missing, which a restart would not fix.
    """
    if settings.probe_port == 0:
        return None

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok") if alive() else web.Response(status=503, text="not alive")

    async def readyz(_: web.Request) -> web.Response:
        missing = await ready()
        return web.Response(text="ok") if missing is None else web.Response(status=503, text=missing)

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = exposed(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, lingering_time=LINGERING_S)
    await runner.setup()
    listening = listening_socket(settings.probe_host, settings.probe_port)
    await PatientSite(runner, listening, Connections(most_callers(MOST_CONNECTIONS))).start()
    return runner
