"""What there is to query: our metrics, Prometheus' own, and what our rules record."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.grafana.catalogue import ROOT, Metric, read_catalogue

RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
RUNBOOK = ROOT / "docs" / "runbook.md"

# Of Prometheus itself, and of its client about a process.
GIVEN = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


@cache
def catalogue() -> tuple[Metric, ...]:
    """Our metrics."""
    return tuple(read_catalogue())


def series() -> dict[str, Metric]:
    """Our metrics by the names under which they are queried."""
    return {name: metric for metric in catalogue() for name in metric.series}


def rules(*files: Path) -> list[dict[str, Any]]:
    """Every rule of the files."""
    groups = [group for file in files or RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> set[str]:
    """The names of what our rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}


def alerts() -> list[dict[str, Any]]:
    """Our alerts."""
    return [rule for rule in rules() if "alert" in rule]
