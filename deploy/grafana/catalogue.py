"""The catalogue of our metrics, read from the modules that define them."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grimp
from prometheus_client.metrics import MetricWrapperBase

ROOT: Final = Path(__file__).parents[2]
CATALOGUE: Final = ROOT / "docs" / "metrics.md"
_KINDS: Final = {"Counter", "Gauge", "Histogram", "Info", "Summary", "Enum"}
# With more values than this, the table does not list them.
_MOST_VALUES: Final = 12

_HEAD: Final = """# Metrics

Every process of Rollcall serves these under `/metrics`, beside those of Python's Prometheus client about the
process itself (`process_…`, `python_…`), and in the worker those of livekit-agents (`lk_agents_…`). Written
by `make dashboards` from the code; a test compares.

A name begins with what is measured (`session_`, `celery_`, `turn_` …), not with the project's name: the
`job` label tells whose it is. Units are base units, at the end of the name. Labels are closed sets, and never
a session, a room or a job. Agent names, which clients choose, are told apart up to 20 a process, and are
`other` beyond.
"""


@dataclass(frozen=True)
class Metric:
    """One metric: its name in queries, its labels with known values, and the services that serve it."""

    name: str
    kind: str
    help: str
    labels: dict[str, list[str]]
    services: list[str]

    @property
    def series(self) -> set[str]:
        """The names of its samples in queries."""
        if self.kind == "histogram":
            return {f"{self.name}_{part}" for part in ("bucket", "count", "sum")}
        return {self.name}


def read_catalogue() -> list[Metric]:
    """Return all metrics, by name."""
    graph = grimp.build_graph("services", "rollcall_agent", "shared", cache_dir=None)
    metrics = []
    for module in modules_with_metrics():
        services = _services_with(module, graph)
        found = vars(importlib.import_module(module)).values()
        metrics += [_read(value, services) for value in found if isinstance(value, MetricWrapperBase)]
    return sorted(metrics, key=lambda metric: metric.name)


def modules_with_metrics() -> list[str]:
    """Yield the modules that define metrics."""
    folders = (ROOT, "services"), (ROOT, "shared"), (ROOT / "rollcall-agent", "rollcall_agent")
    return sorted(
        ".".join(file.relative_to(top).with_suffix("").parts)
        for top, folder in folders
        for file in (top / folder).rglob("*.py")
        if _defines_metrics(file)
    )


def _defines_metrics(file: Path) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "prometheus_client"
        and any(alias.name in _KINDS for alias in node.names)
        for node in ast.walk(ast.parse(file.read_text()))
    )


def _services_with(module: str, graph: grimp.ImportGraph) -> list[str]:
    importers = {module, *graph.find_downstream_modules(module)}
    return sorted({name.split(".")[1] for name in importers if name.startswith("services.")})


def _read(metric: MetricWrapperBase, services: list[str]) -> Metric:
    [family] = metric.collect()
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = {name: sorted(_values(metric, name)) for name in metric._labelnames}
    return Metric(f"{family.name}{suffix}", family.type, family.documentation, labels, services)


def _values(metric: MetricWrapperBase, label: str) -> Iterator[str]:
    [family] = metric.collect()
    yield from {sample.labels[label] for sample in family.samples if label in sample.labels}


def as_markdown(metrics: list[Metric]) -> str:
    """The page."""
    subjects: dict[str, list[Metric]] = {}
    for metric in metrics:
        subjects.setdefault(metric.name.split("_")[0], []).append(metric)
    return _HEAD + "".join(_section(subject, found) for subject, found in sorted(subjects.items()))


def _section(subject: str, metrics: list[Metric]) -> str:
    rows = [f"| `{m.name}` | {m.kind} | {_labels(m)} | {m.help} | {', '.join(m.services)} |" for m in metrics]
    head = ["| metric | kind | labels | meaning | served by |", "|---|---|---|---|---|"]
    return "\n".join(["", f"## {subject}", "", *head, *rows, ""])


def _labels(metric: Metric) -> str:
    return "; ".join(
        f"`{name}`: {', '.join(values)}" if 0 < len(values) <= _MOST_VALUES else f"`{name}`"
        for name, values in metric.labels.items()
    )
