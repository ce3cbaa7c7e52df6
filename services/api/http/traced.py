"""The span of a request: a session's trace begins here, or continues the client's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request

from services.api.errors.problems import TRACE_HEADER
from shared.contracts.traceparent import TRACEPARENT, trace_id_of
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import Kind, arrived, begun_here, failed, is_tracing, note, span

# Requests that may start a session. Other requests get a span only if the client traces them: sessions are
# read much more often than they are started.
_BEGIN: Final = frozenset({"/v1/sessions", "/v1/token", "/api/v2/sandbox/connection-details"})


@contextmanager
def traced(request: Request) -> Iterator[str | None]:
    """Yield the request's trace, if this process traces it."""
    with arrived(request.headers.get(TRACEPARENT)):
        if not is_tracing():
            yield None
            return
        attributes = {
            names.HTTP_METHOD: request.method,
            names.URL_PATH: request.url.path,
            names.URL_SCHEME: request.url.scheme,
            names.REQUEST_ID: request.headers.get(TRACE_HEADER),
        }
        begins = request.method == "POST" and request.url.path in _BEGIN
        with span(request.method, kind=Kind.SERVER, attributes=attributes, begins=begins):
            context = begun_here()
            yield trace_id_of(context) if context else None


def note_answer(request: Request, status: int) -> None:
    """Record on the request's span how it was answered, and by which route."""
    if not is_tracing():
        return
    route = getattr(request.scope.get("route"), "path", None)
    name = f"{request.method} {route}" if route else None
    note({names.HTTP_ROUTE: route, names.HTTP_STATUS: status}, name=name)
    if status >= 500:
        failed(str(status))
