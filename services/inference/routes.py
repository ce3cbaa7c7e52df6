"""The HTTP application: authentication, the paths, and the form of refusals."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.inference import metrics
from services.inference.auth import Gatekeeper
from services.inference.catalogue import Kind
from services.inference.llm import Chat
from services.inference.realtime import Realtime
from services.inference.request_refused import RequestRefused
from services.inference.sockets import close_open_sockets
from services.inference.stt import Listen
from services.inference.tts import Speak
from shared.platform.logs.logs import get_logger

MAX_BODY_BYTES = 4 << 20  # a conversation of hours, tool schemas included

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_KINDS = {
    "/v1/chat/completions": Kind.LLM,
    "/v1/stt": Kind.STT,
    "/v1/tts": Kind.TTS,
    "/v1/realtime": Kind.REALTIME,
}
_log = get_logger(__name__)


def build_app(
    *,
    gatekeeper: Gatekeeper,
    chat: Chat,
    listen: Listen,
    speak: Speak,
    realtime: Realtime,
    ready: Callable[[], bool],
) -> web.Application:
    """Return the application with all routes; everything under /v1/ needs a token."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not request.path.startswith("/v1/"):
            return await handler(request)
        try:
            gatekeeper.check(request.headers.get("Authorization"))
            return await handler(request)
        except RequestRefused as refusal:
            metrics.request_refused(_KINDS.get(request.path))
            _log.warning("request_refused", path=request.path, code=refusal.code, reason=refusal.message)
            return web.json_response(refusal.body(), status=refusal.status)

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if ready() else web.Response(status=503, text="loading")

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    app.router.add_get("/v1/models", chat.models)
    app.router.add_post("/v1/chat/completions", chat.complete)
    app.router.add_get("/v1/stt", listen.handle)
    app.router.add_get("/v1/tts", speak.handle)
    app.router.add_get("/v1/realtime", realtime.handle)
    app.on_shutdown.append(close_open_sockets)
    return app
