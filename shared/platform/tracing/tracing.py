"""One trace for each session, with OpenTelemetry. Without an OTLP endpoint, it does nothing.

Every span belongs to a session. Its parent is the current span if that belongs to the session's trace, and
otherwise the session's own context (`SessionRow.traceparent`). So a trace stays whole over queues, sweeps and
new attempts. Work that belongs to no session makes no spans. While tracing is off, nothing here imports
OpenTelemetry, starts a thread, or does more than check one variable.
"""

import atexit
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from shared.contracts.settings import TracingSettings
from shared.contracts.traceparent import trace_id_of, valid_traceparent
from shared.platform.logs.logs import get_logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from shared.platform.tracing.sdk import Recorder

log = get_logger(__name__)

Value = str | bool | int | float
Attributes = Mapping[str, Value | None]

# A collector that doesn't answer must not delay the end of a process.
FLUSH_S: Final = 2.0


class Kind(StrEnum):
    """The kind of a span, under OpenTelemetry's names."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class _Nothing(AbstractContextManager[None]):
    """The span in a process that doesn't trace."""

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING: Final = _Nothing()
_recorder: "Recorder | None" = None
_arrived: ContextVar[str | None] = ContextVar("rollcall_traceparent", default=None)


def configure_tracing(
    settings: TracingSettings,
    *,
    service: str,
    content: bool = False,
    make_provider: "Callable[..., TracerProvider] | None" = None,
) -> "Recorder | None":
    """Start tracing if the settings name an endpoint. Each process calls this once.

    If `content` is true, spans may contain what is said. `make_provider` replaces OpenTelemetry's
    `TracerProvider`.
    """
    global _recorder  # noqa: PLW0603
    if settings.traces_endpoint is None:
        return None
    # The SDK takes 0.1 s to import and starts a thread.
    from shared.platform.tracing.sdk import make_recorder

    options = {} if make_provider is None else {"make_provider": make_provider}
    _recorder = make_recorder(settings.traces_endpoint, service=service, content=content, **options)
    atexit.register(stop_tracing)
    log.info("tracing_started", content=content)
    return _recorder


def stop_tracing(*, within_s: float = FLUSH_S) -> None:
    """Send the remaining spans, for at most `within_s` seconds. After that, no spans are made."""
    global _recorder
    recorder, _recorder = _recorder, None
    if recorder is not None:
        atexit.unregister(stop_tracing)
        recorder.stop(within_s=within_s)


def span(
    name: str,
    *,
    of: str | None = None,
    kind: Kind = Kind.INTERNAL,
    attributes: Attributes | None = None,
    begins: bool = False,
) -> AbstractContextManager[None]:
    """Make a span around the block; inside the block it is the current span.

    `of` is the session's context. If there is no context, a new trace begins if `begins` is true; otherwise
    there is no span. An exception marks the span as failed, with the exception's type only: a message may say
    anything.
    """
    if _recorder is None:
        return _NOTHING
    return _recorder.span(name, of=of, kind=kind, attributes=attributes or {}, begins=begins)


def record(
    name: str,
    *,
    of: str | None,
    began: datetime | int,
    ended: datetime | int,
    kind: Kind = Kind.INTERNAL,
    attributes: Attributes | None = None,
    events: Mapping[str, datetime | None] | None = None,
    content: Attributes | None = None,
    error: str | None = None,
) -> str | None:
    """Make a span for work that is already over, and return its context, or `of` without tracing.

    Times given as numbers are nanoseconds since 1970. `content` holds attributes with what was said; they are
    left out unless that is allowed.
    """
    if _recorder is None or of is None:
        return of
    return _recorder.record(
        name,
        of=of,
        began=began,
        ended=ended,
        kind=kind,
        attributes=attributes or {},
        events=events or {},
        content=content or {},
        error=error,
    )


def note(attributes: Attributes, *, name: str | None = None) -> None:
    """Add attributes to the current span, and optionally rename it."""
    if _recorder is not None:
        _recorder.note(attributes, name=name)


def event(name: str, make_attributes: Callable[[], Attributes]) -> None:
    """Add an event to the current span."""
    if _recorder is not None:
        _recorder.event(name, make_attributes())


def failed(error: str, attributes: Attributes | None = None) -> None:
    """Mark the current span as failed. `error` comes from a closed list and is never a message."""
    if _recorder is not None:
        _recorder.failed(error, attributes or {})


def is_tracing() -> bool:
    """Return whether this process traces."""
    return _recorder is not None


def here(of: str | None) -> str | None:
    """Return the current context if it belongs to the session's trace; otherwise the session's own."""
    if _recorder is None or of is None:
        return of
    return _recorder.here(of)


def begun_here() -> str | None:
    """Return the context for a session that begins now; None if nothing traces it."""
    if _recorder is None:
        return _arrived.get()
    return _recorder.begun_here()


@contextmanager
def arrived(traceparent: object) -> Iterator[str | None]:
    """Within the block, continue the trace of a message's sender. A context that can't be read is ignored."""
    valid = valid_traceparent(traceparent)
    if valid is None:
        yield None
    elif _recorder is not None:
        with _recorder.arrived(valid):
            yield valid
    else:
        token = _arrived.set(valid)
        try:
            yield valid
        finally:
            _arrived.reset(token)


def trace_fields(traceparent: str | None) -> dict[str, str]:
    """Return the fields that link a session's log lines with its trace."""
    return {"trace_id": trace_id_of(traceparent)} if traceparent is not None else {}
