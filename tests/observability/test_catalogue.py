"""docs/metrics.md and the code say the same, and names and labels keep to the rules."""

import re

import pytest
from prometheus_client import REGISTRY

from deploy.grafana.catalogue import CATALOGUE, Metric, as_markdown
from tests.observability.known import catalogue

# The subjects that a name may begin with. A new one is a decision: it says where people will look.
SUBJECTS = (
    "agent_",
    "celery_",
    "database_",
    "dispatch_",
    "fleet_",
    "http_",
    "idempotency_",
    "inference_",
    "livekit_",
    "outbox_",
    "rollcall_build",
    "session_",
    "sessions_",
    "stream_",
    "sweep_",
    "transcript_",
    "turn_",
    "webhook_",
    "api_",
    "event_",
)
UNBOUNDED = re.compile(r"session|room|job|participant|identity|url|path|(^|_)id$")
UNITS = re.compile(r"(?:_ms|_milliseconds|_minutes|_hours|_kb|_mb|_percent)(?:_|$)")


def test_the_catalogue_is_that_of_the_code() -> None:
    assert CATALOGUE.read_text() == as_markdown(list(catalogue())), "run `make dashboards`, and read the diff"


def test_nothing_is_registered_that_the_catalogue_does_not_know() -> None:
    known = {metric.name for metric in catalogue()}
    ours = set()
    for family in REGISTRY.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        if not family.name.startswith(("python_", "process_", "lk_")):  # of the client and LiveKit's SDK
            ours.add(family.name + suffix)
    assert ours <= known, "a metric is made elsewhere than at the top of its module"


@pytest.mark.parametrize("metric", catalogue(), ids=lambda metric: metric.name)
def test_names_labels_and_meanings_keep_to_the_rules(metric: Metric) -> None:
    assert metric.name.startswith(SUBJECTS), "no prefix of the project; begin with what is measured"
    assert not UNITS.search(metric.name), "base units"
    assert metric.name == metric.name.lower()
    assert not [label for label in metric.labels if UNBOUNDED.search(label)], "labels are closed sets"
    assert len(metric.labels) <= 3
    assert metric.help.endswith("."), "its meaning is a sentence"
    assert metric.services
