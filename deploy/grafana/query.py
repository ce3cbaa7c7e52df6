"""Run a panel's queries on a Prometheus, with values for the dashboard's variables."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass(frozen=True)
class Choice:
    """A viewer's choices on a dashboard; times are durations of Prometheus."""

    interval: str = "5m"
    range: str = "3h"
    agent_name: str = ".*"

    def put_into(self, expression: str) -> str:
        """Return the expression as Grafana would send it."""
        for name, value in (
            ("$interval", self.interval),
            ("$__range", self.range),
            ("$agent_name", self.agent_name),
        ):
            expression = expression.replace(name, value)
        return expression


@dataclass(frozen=True)
class Series:
    """One series of an answer: its legend, its labels, and its points (seconds since 1970, value)."""

    legend: str
    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


class Prometheus:
    """The HTTP API of a Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)

    def instant(self, expression: str, legend: str = "", *, at: float | None = None) -> list[Series]:
        """What it is now, or was at a time; NaN is no answer.

        Raises `httpx.HTTPStatusError` where the expression is wrong.
        """
        found = self._ask("query", query=expression, **({} if at is None else {"time": at}))
        return list(_series([{**one, "values": [one["value"]]} for one in found], legend))

    def over_time(
        self, expression: str, legend: str = "", *, start: float, end: float, step_s: float
    ) -> list[Series]:
        """Return the series between two times."""
        found = self._ask("query_range", query=expression, start=start, end=end, step=step_s)
        return list(_series(found, legend))

    def exemplars(self, expression: str, *, start: float, end: float) -> list[dict[str, str]]:
        """Return the labels of the expression's exemplars between two times."""
        answer = self._http.get(
            "/api/v1/query_exemplars", params={"query": expression, "start": start, "end": end}
        )
        found = answer.raise_for_status().json()["data"]
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    def names(self, selector: str) -> set[str]:
        """Return the names of the metrics that a selector finds."""
        answer = self._http.get("/api/v1/label/__name__/values", params={"match[]": selector})
        return set(answer.raise_for_status().json()["data"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(self, what: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self._http.post(f"/api/v1/{what}", data=parameters)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found


def _series(found: list[dict[str, Any]], legend: str) -> Iterator[Series]:
    for one in found:
        points = [(float(at), float(value)) for at, value in one["values"] if math.isfinite(float(value))]
        if points:
            yield Series(_filled(legend, one["metric"]), one["metric"], points)


def _filled(legend: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend


def read_panels(file: Path) -> list[dict[str, Any]]:
    """Return the panels and rows of a dashboard's JSON."""
    panels: list[dict[str, Any]] = json.loads(file.read_text())["panels"]
    return panels
