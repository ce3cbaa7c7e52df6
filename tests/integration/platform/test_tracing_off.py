"""Without an endpoint, tracing imports nothing, runs nothing and records nothing."""

import subprocess
import sys

import pytest

from shared.contracts.settings import TracingSettings
from shared.platform.tracing import tracing
from shared.platform.tracing.tracing import Kind
from tests.unit.contracts.test_traceparent import SAMPLED

_LOOKED_FOR = """
import sys, threading, importlib
before = set(threading.enumerate())
importlib.import_module({module!r})
from shared.contracts.settings import TracingSettings
from shared.platform.tracing import tracing
assert tracing.configure_tracing(TracingSettings(_env_file=None), service="x") is None
with tracing.arrived({sampled!r}), tracing.span("x", of={sampled!r}):
    tracing.note({{}})
# Of the SDK, redis-py itself imports what it needs for metrics, wherever that is installed.
loaded = [m for m in sys.modules if m.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))]
print(loaded, [t.name for t in set(threading.enumerate()) - before])
"""


@pytest.mark.parametrize(
    "module",
    [
        "services.api.__main__",
        "services.dispatcher.bootstrap",
        "services.verifier.bootstrap",
        "services.transcripts.__main__",
    ],
)
def test_a_process_that_does_not_trace_imports_no_tracing_sdk_and_starts_no_thread(module: str) -> None:
    code = _LOOKED_FOR.format(module=module, sampled=SAMPLED)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "[] []", done.stdout + done.stderr


def test_where_nothing_is_traced_contexts_are_handed_on_as_they_came() -> None:
    assert not tracing.is_tracing()
    assert tracing.begun_here() is None
    with tracing.arrived(SAMPLED) as arrived:
        assert arrived == SAMPLED
        assert tracing.begun_here() == SAMPLED, "a session that begins here is of its client's trace"
        assert tracing.here(None) is None, "a session that is of no trace stays so"
    assert tracing.begun_here() is None
    assert tracing.here(SAMPLED) == SAMPLED
    assert tracing.record("x", of=SAMPLED, began=1, ended=2, kind=Kind.CLIENT) == SAMPLED


def test_what_arrives_malformed_is_ignored() -> None:
    with tracing.arrived("nonsense") as arrived:
        assert arrived is None
        assert tracing.begun_here() is None


def test_a_span_that_is_none_lets_exceptions_through() -> None:
    with pytest.raises(KeyError), tracing.span("x", of=SAMPLED, begins=True):
        raise KeyError


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, None),
        ({"otel_exporter_otlp_endpoint": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"otel_exporter_otlp_endpoint": "http://c:4318/otlp/"}, "http://c:4318/otlp/v1/traces"),
        ({"otel_exporter_otlp_traces_endpoint": "http://c/t"}, "http://c/t"),
        (
            {"otel_exporter_otlp_endpoint": "http://a", "otel_exporter_otlp_traces_endpoint": "http://c/t"},
            "http://c/t",
        ),
    ],
)
def test_the_endpoint_is_the_one_that_opentelemetrys_variables_name(
    variables: dict[str, str], endpoint: str | None
) -> None:
    settings = TracingSettings(_env_file=None, **variables)  # type: ignore[arg-type]
    assert settings.traces_endpoint == endpoint
    assert "http" not in repr(settings)
