"""A bucket of the join's histogram names a session's trace, to a scraper that asks for such."""

import importlib

import pytest
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from shared.contracts.sessions import Level
from shared.core.sessions.metrics import level_reached
from shared.platform.http.probe import exposed
from tests.unit.contracts.test_traceparent import SAMPLED, TRACE
from tests.unit.making import make_session

# What Prometheus asks for.
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"


def exemplars(agent_name: str) -> list[Exemplar]:
    body, content_type = exposed(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    return [
        sample.exemplar
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.exemplar is not None and sample.labels.get("agent_name") == agent_name
    ]


@pytest.mark.parametrize("traceparent", [None, f"{SAMPLED[:-2]}00"])
def test_a_session_without_a_recorded_trace_is_no_exemplar(traceparent: str | None) -> None:
    level_reached(make_session(agent_name="untraced", traceparent=traceparent), Level.ACTIVE, 0.3)
    assert exemplars("untraced") == []


def test_a_recorded_trace_is_the_exemplar_of_its_bucket() -> None:
    level_reached(make_session(agent_name="traced", traceparent=SAMPLED), Level.ACTIVE, 0.3)
    [found] = exemplars("traced")
    assert (found.labels, found.value) == ({"trace_id": TRACE}, 0.3)


@pytest.mark.parametrize("service", ["api", "dispatcher", "verifier", "transcripts", "agent", "webhooks"])
def test_all_metrics_can_be_asked_for_in_both_formats(service: str) -> None:
    importlib.import_module(f"services.{service}.metrics")
    plain, content_type = exposed("")
    assert content_type.startswith("text/plain")
    assert list(parser.text_string_to_metric_families(plain.decode()))
    assert list(openmetrics.parser.text_string_to_metric_families(exposed(OPENMETRICS)[0].decode()))
