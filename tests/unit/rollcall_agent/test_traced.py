"""A job's spans without a parent are joined to its session's trace, and only those."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.protocol.agent import Job
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rollcall_agent.job import traced
from rollcall_agent.job.traced import JoinedProvider
from services.agent.settings import AgentSettings
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.keys import ORDER_ATTRIBUTE
from tests.unit.agent.agent_fakes import an_order
from tests.unit.contracts.test_traceparent import SAMPLED, TRACE


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.shutdown()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> trace.Tracer:
    provider = JoinedProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("livekit-agents")


def in_a_job(monkeypatch: pytest.MonkeyPatch, attributes: dict[str, str]) -> None:
    context = SimpleNamespace(job=Job(id="AJ_1", attributes=attributes))
    monkeypatch.setattr(traced, "get_job_context", lambda *, required: context)


def spans(exported: InMemorySpanExporter) -> dict[str, Any]:
    return {span.name: span for span in exported.get_finished_spans()}


def an_order_of(traceparent: str | None) -> DispatchOrder:
    return an_order().model_copy(update={"traceparent": traceparent})


def test_the_root_of_a_job_is_a_child_of_its_dispatch_and_all_else_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, exported: InMemorySpanExporter, tracer: trace.Tracer
) -> None:
    order = an_order_of(SAMPLED)
    in_a_job(monkeypatch, order.dispatch_attributes())
    root = tracer.start_span("job_entrypoint", attributes={"lk.job_id": "AJ_1"})
    with trace.use_span(root, end_on_exit=True), tracer.start_as_current_span("agent_session"):
        pass
    with tracer.start_as_current_span("orphan"):
        pass
    found = spans(exported)
    assert {span.context.trace_id for span in found.values()} == {int(TRACE, 16)}
    assert found["job_entrypoint"].parent.span_id == found["orphan"].parent.span_id == int(SAMPLED[36:52], 16)
    assert found["agent_session"].parent.span_id == root.get_span_context().span_id
    assert dict(found["job_entrypoint"].attributes) == {
        "lk.job_id": "AJ_1",
        "rollcall.session.id": order.session_id,
        "rollcall.attempt": order.attempt,
    }


@pytest.mark.parametrize(
    "attributes",
    [an_order_of(None).dispatch_attributes(), {"not": "ours"}, {ORDER_ATTRIBUTE: "what?"}],
    ids=["an order of an untraced session", "a job of somebody else's", "an order that can't be read"],
)
def test_a_job_of_no_traced_session_begins_a_trace_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    exported: InMemorySpanExporter,
    tracer: trace.Tracer,
    attributes: dict[str, str],
) -> None:
    in_a_job(monkeypatch, attributes)
    tracer.start_span("job_entrypoint").end()
    assert spans(exported)["job_entrypoint"].parent is None


def test_outside_of_a_job_nothing_is_joined(exported: InMemorySpanExporter, tracer: trace.Tracer) -> None:
    tracer.start_span("warm-up").end()
    assert spans(exported)["warm-up"].parent is None


@pytest.mark.parametrize(
    ("variables", "allowed"),
    [
        ({}, False),
        ({"trace_content": True}, True),
        ({"trace_content": True, "transcript_store": "metadata"}, False),
        ({"trace_content": True, "transcript_redactor": "mine.redact:redact"}, False),
    ],
)
def test_content_is_traced_only_where_it_is_also_stored_as_it_was_said(
    variables: dict[str, Any], allowed: bool
) -> None:
    livekit = {"livekit_url": "ws://x", "livekit_api_key": "k", "livekit_api_secret": "s"}
    settings = AgentSettings(_env_file=None, **{**livekit, **variables})
    assert settings.content_may_be_traced is allowed
