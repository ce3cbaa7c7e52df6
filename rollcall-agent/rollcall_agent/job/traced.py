"""Join the spans of livekit-agents to the session's trace.

The SDK begins a job's root span before any of our code runs in the job, and without a parent. So this module
gives spans without a parent the context of the job's order, which is the dispatch's.
"""

from multiprocessing.util import Finalize
from typing import Any, Final

from livekit.agents import telemetry
from livekit.agents.job import get_job_context
from livekit.agents.telemetry import gen_ai
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, Tracer

from rollcall_agent.worker.admit import MalformedOrder, read_order
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.settings import WorkerSettings
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import configure_tracing, stop_tracing

# A job's process ends after its last spans; a collector that is down must not keep the job's slot.
_FLUSH_S: Final = 1.0


def trace_jobs(settings: WorkerSettings) -> None:
    """Start tracing this process, if tracing is on; called once, before it gets a job."""
    content = settings.content_may_be_traced
    recorder = configure_tracing(settings, service="agent", content=content, make_provider=JoinedProvider)
    if recorder is None:
        return
    gen_ai.set_capture_content(content)
    telemetry.set_tracer_provider(recorder.provider, allow_pii=content)
    # Processes of `multiprocessing` don't run functions that are registered with atexit.
    Finalize(None, stop_tracing, kwargs={"within_s": _FLUSH_S}, exitpriority=1)


class JoinedProvider(TracerProvider):
    """OpenTelemetry's provider, except that spans without a parent join the session's trace."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """Return a tracer; see OpenTelemetry's."""
        return _JoinedTracer(super().get_tracer(*args, **kwargs))


class _JoinedTracer(Tracer):
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        parent, attributes = _joined(context)
        begun = self._tracer.start_span(name, parent, *args, **kwargs)
        begun.set_attributes(attributes)
        return begun

    def start_as_current_span(
        self, name: str, context: Context | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        parent, _ = _joined(context)
        return self._tracer.start_as_current_span(name, parent, *args, **kwargs)


def _joined(context: Context | None) -> tuple[Context | None, dict[str, str | int]]:
    """Return the context for a new span, with attributes from the order if the order is its parent."""
    if trace.get_current_span(context).get_span_context().is_valid:
        return context, {}
    order = _order()
    if order is None or order.traceparent is None:
        return context, {}
    # Imported late, like everything that needs the SDK: without an endpoint, this code is never reached.
    from shared.platform.tracing.sdk import remote

    return remote(order.traceparent), {names.SESSION_ID: order.session_id, names.ATTEMPT: order.attempt}


def _order() -> DispatchOrder | None:
    job = get_job_context(required=False)
    try:
        return read_order(job.job) if job is not None else None
    except MalformedOrder:
        return None
