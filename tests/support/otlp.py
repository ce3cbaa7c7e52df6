"""A receiver of OTLP over HTTP, by OpenTelemetry's protocol, and the spans that it received."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class ReceivedSpan:
    """One span, and the service that sent it."""

    service: str
    span: trace_pb2.Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def kind(self) -> str:
        return trace_pb2.Span.SpanKind.Name(self.span.kind).removeprefix("SPAN_KIND_")

    @property
    def is_error(self) -> bool:
        return self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR

    @cached_property
    def attributes(self) -> dict[str, Any]:
        return _attributes(self.span.attributes)

    @property
    def events(self) -> list[str]:
        return [event.name for event in self.span.events]


@dataclass
class Traces:
    """The spans that a receiver has got so far."""

    url: str = ""
    status: int = 200
    spans: list[ReceivedSpan] = field(default_factory=list)
    text: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)

    def of(self, trace_id: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def of_session(self, session_id: str) -> list[ReceivedSpan]:
        """Return the spans of all traces that name the session."""
        traces = {s.trace_id for s in self.spans if s.attributes.get("rollcall.session.id") == session_id}
        return [span for span in self.spans if span.trace_id in traces]

    def take(self, request: ExportTraceServiceRequest) -> None:
        self.text += str(request)
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [ReceivedSpan(service, span) for span in scope.spans]


def ancestry(span: ReceivedSpan, spans: list[ReceivedSpan]) -> list[str]:
    """Return the names of the span's ancestors and its own name, itself last."""
    by_id = {each.id: each for each in spans}
    names: list[str] = []
    at: ReceivedSpan | None = span
    while at is not None:
        names.insert(0, at.name)
        at = by_id.get(at.parent_id)
    return names


def tree(spans: list[ReceivedSpan]) -> str:
    """Return the trace as text, for the report of a failed test."""
    children: dict[str, list[ReceivedSpan]] = defaultdict(list)
    ids = {span.id for span in spans}
    for span in sorted(spans, key=lambda span: span.span.start_time_unix_nano):
        children[span.parent_id if span.parent_id in ids else ""].append(span)

    def lines(parent: str, depth: int) -> Iterator[str]:
        for span in children[parent]:
            error = " ERROR" if span.is_error else ""
            yield f"{'  ' * depth}{span.name} ({span.service}, {span.kind}){error}"
            yield from lines(span.id, depth + 1)

    return "\n".join(lines("", 0))


@asynccontextmanager
async def receiving(*, status: int = 200) -> AsyncIterator[Traces]:
    """A receiver on a free port; it answers with `status`, which may be changed."""
    traces = Traces(status=status)

    async def take(request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        traces.headers.append(dict(request.headers))
        traces.take(ExportTraceServiceRequest.FromString(await request.read()))
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, status=traces.status, content_type="application/x-protobuf")

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    traces.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield traces
    finally:
        await runner.cleanup()


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    value: AnyValue = pair.value
    which = value.WhichOneof("value")
    return getattr(value, which) if which else None
