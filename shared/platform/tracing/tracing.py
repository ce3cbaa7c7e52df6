"""One trace for each session, by OpenTelemetry; nothing at all unless an OTLP endpoint is set.

Spans are of sessions: each is a child of what goes on now, if that belongs to the session's trace, and of
the session's own context (`SessionRow.traceparent`) otherwise. So a trace holds together over queues,
sweeps and new attempts, and work that is of no session makes no spans. Off, nothing here imports
OpenTelemetry, starts a thread, or does more than look at one variable.
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

# A collector that doesn't answer must not keep a process from ending.
FLUSH_S: Final = 2.0


class Kind(StrEnum):
    """What a span is to the other side of it, as OpenTelemetry calls it."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class _Nothing(AbstractContextManager[None]):
    """The span of a process that doesn't trace."""

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
    """Trace from now on, if the settings name an endpoint; called once in each process.

    content: what is said may be in spans. make_provider: another than OpenTelemetry's `TracerProvider`.
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
    """Send what is left, for `within_s` seconds at most; no spans are made after that."""
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
    """A span around the block, in which it is what goes on now.

    of: the session's context. begins: where there is no context, a new trace begins here; otherwise there
    is no span. An exception makes it an error, by the exception's type alone: a message may say anything.
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
    """Record what is over; times as numbers are nanoseconds since 1970. Returns its context, else `of`.

    content: attributes with what was said, which are left out unless that is allowed.
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
    """Add attributes to the span that goes on now, and give it another name."""
    if _recorder is not None:
        _recorder.note(attributes, name=name)


def event(name: str, make_attributes: Callable[[], Attributes]) -> None:
    """Add an event to the span that goes on now."""
    if _recorder is not None:
        _recorder.event(name, make_attributes())


def failed(error: str, attributes: Attributes | None = None) -> None:
    """The span that goes on now has failed; `error` is of a closed list, never a message."""
    if _recorder is not None:
        _recorder.failed(error, attributes or {})


def is_tracing() -> bool:
    """Whether this process traces."""
    return _recorder is not None


def here(of: str | None) -> str | None:
    """The context of what goes on now, if that belongs to the session's trace; else the session's own."""
    if _recorder is None or of is None:
        return of
    return _recorder.here(of)


def begun_here() -> str | None:
    """The context for a session that begins now; None if nobody traces it."""
    if _recorder is None:
        return _arrived.get()
    return _recorder.begun_here()


@contextmanager
def arrived(traceparent: object) -> Iterator[str | None]:
    """Go on, within the block, where the sender of a message was; what can't be read is ignored."""
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
    """What is bound to each line logged for a session, so that its lines and its trace find each other."""
    return {"trace_id": trace_id_of(traceparent)} if traceparent is not None else {}
