"""Tracing with OpenTelemetry's SDK. `tracing.py` imports this module only if tracing is on."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.contracts.traceparent import trace_id_of
from shared.platform.logs.logs import get_logger
from shared.platform.process import process_name, rollcall_version
from shared.platform.tracing.span_names import ERROR_TYPE, SCHEMA_URL
from shared.platform.tracing.tracing import Attributes, Kind, Value

log = get_logger(__name__)

# An unreachable collector is logged at once, and then about this often.
TELL_EVERY_S: Final = 60.0
ADVICE: Final = "check that it runs and accepts OTLP over HTTP; OTEL_EXPORTER_OTLP_ENDPOINT names it"


class QuietExporter(SpanExporter):
    """Exports spans.

    It seldom logs failures, and removes exception messages, which may hold what was said.
    """

    def __init__(self, inner: SpanExporter, *, collector: str, content: bool) -> None:
        self._inner = inner
        self._collector = collector
        self._content = content
        self._lost = 0
        self._told_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that can't be sent are lost."""
        result = self._inner.export(spans if self._content else [_without_messages(span) for span in spans])
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("spans_sent_again", lost=self._lost)
            self._lost, self._told_at = 0, float("-inf")
            return result
        self._lost += len(spans)
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            log.warning("spans_not_sent", lost=self._lost, collector=self._collector, advice=ADVICE)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._inner.shutdown()


def _without_messages(span: ReadableSpan) -> ReadableSpan:
    # livekit-agents itself leaves out the messages of exceptions, except for some in the status.
    if span.status.description is None:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class Recorder:
    """Makes spans.

    The functions of the same names in `shared.platform.tracing.tracing` describe its methods.
    """

    def __init__(self, provider: TracerProvider, *, content: bool) -> None:
        self.provider = provider
        self.content = content
        self._tracer = provider.get_tracer("rollcall", rollcall_version(), schema_url=SCHEMA_URL)

    def stop(self, *, within_s: float) -> None:
        """Flush, and give up after `within_s`; the SDK itself would wait 30 s."""
        stopping = threading.Thread(target=self.provider.shutdown, name="tracing-stop", daemon=True)
        stopping.start()
        stopping.join(within_s)

    @contextmanager
    def span(
        self, name: str, *, of: str | None, kind: Kind, attributes: Attributes, begins: bool
    ) -> Iterator[None]:
        """Make a span around the block."""
        parent = _parent(of)
        if parent is None and not begins:
            yield
            return
        begun = self._tracer.start_span(
            name, context=parent, kind=SpanKind[kind], attributes=_known(attributes)
        )
        with trace.use_span(begun, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except Exception as error:
                _fail(begun, type(error).__name__)
                raise

    def record(
        self,
        name: str,
        *,
        of: str,
        began: datetime | int,
        ended: datetime | int,
        kind: Kind,
        attributes: Attributes,
        events: Mapping[str, datetime | None],
        content: Attributes,
        error: str | None,
    ) -> str:
        """Make a span for work that is already over, and return its context."""
        said = content if self.content else {}
        begun = self._tracer.start_span(
            name,
            context=_parent(of),
            kind=SpanKind[kind],
            attributes=_known({**attributes, **said}),
            start_time=_ns(began),
        )
        for event, at in events.items():
            if at is not None:
                begun.add_event(event, timestamp=_ns(at))
        if error is not None:
            _fail(begun, error)
        # If a clock was set back, the span must still not end before it begins.
        begun.end(max(_ns(began), _ns(ended)))
        context = begun.get_span_context()
        return _written(context) if context.is_valid else of  # with OTEL_SDK_DISABLED there is no context

    def note(self, attributes: Attributes, *, name: str | None) -> None:
        """Add attributes to the current span."""
        current = trace.get_current_span()
        current.set_attributes(_known(attributes))
        if name is not None:
            current.update_name(name)

    def event(self, name: str, attributes: Attributes) -> None:
        """Add an event to the current span."""
        trace.get_current_span().add_event(name, _known(attributes))

    def failed(self, error: str, attributes: Attributes) -> None:
        """Mark the current span as failed."""
        current = trace.get_current_span()
        current.set_attributes(_known(attributes))
        _fail(current, error)

    def here(self, of: str) -> str:
        """Return the current context, if it belongs to the session's trace."""
        current = trace.get_current_span().get_span_context()
        return _written(current) if current.is_valid and _is_of(current, of) else of

    def begun_here(self) -> str | None:
        """Return the current context."""
        current = trace.get_current_span().get_span_context()
        return _written(current) if current.is_valid else None

    @contextmanager
    def arrived(self, traceparent: str) -> Iterator[None]:
        """Make the sender's context the current one."""
        token = attach(remote(traceparent))
        try:
            yield
        finally:
            detach(token)


def make_recorder(
    endpoint: str,
    *,
    service: str,
    content: bool,
    make_provider: Callable[..., TracerProvider] = TracerProvider,
) -> Recorder:
    """Return a recorder that sends spans to `endpoint`.

    The SDK's OTEL_ variables set sampling, headers, time limits and batches.
    """
    # For a collector that is down, the SDK logs every batch; QuietExporter logs it once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = make_provider(resource=_resource(service), shutdown_on_exit=False)
    # Without user, password and query, which may be secret.
    at = urlsplit(endpoint)
    collector = f"{at.hostname}:{at.port}{at.path}" if at.port else f"{at.hostname}{at.path}"
    exporter = QuietExporter(OTLPSpanExporter(endpoint=endpoint), collector=collector, content=content)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Recorder(provider, content=content)


def remote(traceparent: str) -> Context:
    """Return the context that a valid traceparent names."""
    sampled = TraceFlags(int(traceparent[-2:], 16))
    context = SpanContext(
        trace_id=int(trace_id_of(traceparent), 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=sampled,
    )
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def _resource(service: str) -> Resource:
    found = Resource.create({"service.version": rollcall_version(), "service.instance.id": process_name()})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: f"rollcall-{service}"}))
    return found


def _parent(of: str | None) -> Context | None:
    """Return the context of a new span's parent; None if there is none."""
    current = trace.get_current_span()
    context = current.get_span_context()
    if context.is_valid and (of is None or _is_of(context, of)):
        return trace.set_span_in_context(current)
    return remote(of) if of is not None else None


def _is_of(context: SpanContext, traceparent: str) -> bool:
    return context.trace_id == int(trace_id_of(traceparent), 16)


def _written(context: SpanContext) -> str:
    sampled = int(context.trace_flags & TraceFlags.SAMPLED)
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{sampled:02x}"


def _fail(failing: Span, error: str) -> None:
    failing.set_attribute(ERROR_TYPE, error)
    failing.set_status(Status(StatusCode.ERROR))


def _known(attributes: Attributes) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _ns(at: datetime | int) -> int:
    return at if isinstance(at, int) else int(at.timestamp() * 1e9)
