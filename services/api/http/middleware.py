"""Before a route is chosen, give every request a trace id, and check its size and its key.

So even a route that forgets to name a scope is closed to requests without a key.
"""

import re
import uuid
from collections.abc import MutableMapping
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Send

from services.api.audit.record import audit
from services.api.auth.access import Principal
from services.api.auth.auth_mode import Auth
from services.api.auth.networks import network_of
from services.api.console.cookies import cookie_in
from services.api.deps import Services, services_of
from services.api.errors.problems import TRACE_HEADER, Problem, answer, without_database
from services.api.http.traced import note_answer, traced
from services.api.settings import ApiSettings
from shared.contracts.traceparent import trace_id_of
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import bound
from shared.platform.tracing.tracing import begun_here

_BEHIND_THE_DOOR: Final = ("/v1/", "/api/")
OPERATIONS: Final = frozenset({"/health", "/health/agent", "/metrics"})
# LiveKit signs these requests itself.
SIGNED: Final = frozenset({"/v1/livekit/webhook"})

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def install(app: FastAPI, settings: ApiSettings, auth: Auth) -> None:
    """Add this middleware to `app`.

    The middleware that answers a browser's preflight has to be added after it.
    """
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.api_max_body_bytes)
    app.add_middleware(RequestMiddleware, settings=settings, auth=auth)


class RequestMiddleware:
    """ASGI middleware. It puts `trace_id` and `principal` into the request's state."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings, auth: Auth) -> None:
        self._app = app
        self._settings = settings
        self._asks = auth is Auth.KEYS

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        with traced(request) as traced_as:
            await self._answer(request, send, trace_id=traced_as or name_of(request))

    async def _answer(self, request: Request, send: Send, *, trace_id: str) -> None:
        scope, receive = request.scope, request.receive
        request.state.trace_id = trace_id

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[TRACE_HEADER] = trace_id
                note_answer(request, message["status"])
                await audit(request, message["status"], Headers(raw=message["headers"]))
            await send(message)

        with bound(trace_id=trace_id):
            try:
                self._measure(request)
                request.state.principal = await self._ask(request)
            except Problem as problem:
                await answer(request, problem)(scope, receive, send_named)
                return
            except DATABASE_ERRORS as error:
                await answer(request, without_database(error))(scope, receive, send_named)
                return
            await self._app(scope, receive, send_named)

    def _measure(self, request: Request) -> None:
        """Refuse a body whose stated length is too long.

        A body that exceeds its stated length is cut off on arrival.
        """
        claimed = request.headers.get("content-length", "")
        most = self._settings.api_max_body_bytes
        if claimed.isascii() and claimed.isdigit() and int(claimed[:20]) > most:
            raise Problem(413, "too_large", f"the body may have at most {most} bytes")

    async def _ask(self, request: Request) -> Principal | None:
        """Return the principal; None if the path needs none."""
        if not self._asks or self._is_open_operation(request):
            return Principal()
        if not self._is_behind(request):
            return None
        services = services_of(request)
        network = network_of(request.client.host if request.client else "")
        request.state.network = network
        asking = await self._who(request, network, services)
        await services.rate_limits.check(asking, network)
        return asking

    async def _who(self, request: Request, network: str, services: Services) -> Principal:
        bad_keys, keyring, logins = services.bad_keys, services.keyring, services.logins
        key, origin = request.headers.get("authorization"), request.headers.get("origin")
        cookie = cookie_in(request)
        known = keyring.has_taken(key) if cookie is None else logins.has_taken(cookie)
        if bad_keys.too_many(network) and not known:
            raise bad_keys.refuse(network)
        try:
            return await (keyring.who(key, origin) if cookie is None else logins.who(cookie))
        except Problem:
            if key or cookie:
                bad_keys.count_bad_key(network)
            raise

    def _is_behind(self, request: Request) -> bool:
        path = request.scope["path"]
        if path in SIGNED or is_preflight(request):
            return False
        return path in OPERATIONS or bool(path.startswith(_BEHIND_THE_DOOR))

    def _is_open_operation(self, request: Request) -> bool:
        return self._settings.api_operations == "open" and request.scope["path"] in OPERATIONS


def is_preflight(request: Request) -> bool:
    """Return whether this is a browser's preflight request, which carries no key."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def name_of(request: Request) -> str:
    """Return the trace id of a request that is not traced here: its own id, its trace's, or a new one."""
    own = request.headers.get(TRACE_HEADER, "")
    if _REQUEST_ID.fullmatch(own):
        return own
    context = begun_here()
    return trace_id_of(context) if context else uuid.uuid4().hex
