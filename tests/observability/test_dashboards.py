"""The dashboards: generated, of metrics that there are, and readable."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.generate import DASHBOARDS, FOLDER, as_json
from tests.observability.known import GIVEN, recorded, series
from tests.observability.promql import labels_in, metrics_in

# Those that Prometheus or the scrape adds.
TARGET_LABELS = {"job", "instance", "le"}
UNITS = {"short", "s", "percentunit", "ops", "bytes", "x"}
WIDTH = 24

FILES = sorted(FOLDER.glob("*.json"))


def panels_of(file: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


EVERY_PANEL = [
    pytest.param(panel, id=f"{file.stem}: {panel['title']}") for file in FILES for panel in panels_of(file)
]


def test_what_is_committed_is_what_the_code_makes() -> None:
    made = {f"{dashboard.uid}.json": as_json(dashboard) for dashboard in DASHBOARDS}
    assert {file.name: file.read_text() for file in FILES} == made, "run `make dashboards`"


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_says_what_it_shows_in_a_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_takes_the_data_source_that_is_chosen(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    # A query of its own data source would win over the panel's.
    assert not any("datasource" in target for target in panel["targets"])


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_asks_for_metrics_and_labels_that_there_are(panel: dict[str, Any]) -> None:
    known = series()
    for target in panel["targets"]:
        names = metrics_in(target["expr"])
        assert names, target["expr"]
        assert names <= {*known, *GIVEN, *recorded()}, target["expr"]
        for name, labels in labels_in(target["expr"]).items():
            if name in known:
                assert labels <= {*known[name].labels, *TARGET_LABELS}, target["expr"]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_counters_are_shown_as_rates_over_a_chosen_time(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        counters = [
            name for name in metrics_in(target["expr"]) if name.endswith(("_total", "_bucket", "_count"))
        ]
        windows = target["expr"].count("[")
        assert bool(counters) <= bool(windows), target["expr"]
        for window in target["expr"].split("[")[1:]:
            assert window.startswith(("$interval]", "$__range]", "30d]")), target["expr"]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_series_of_a_panel_can_be_told_apart(panel: dict[str, Any]) -> None:
    legends = Counter(target["legendFormat"] for target in panel["targets"])
    assert all(legends), panel["targets"]
    assert max(legends.values()) == 1
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_fill_their_rows_and_do_not_overlap(file: Path) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels_of(file):
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                taken[x, y] += 1
    assert set(taken.values()) == {1}
    rows = {y for _, y in taken}
    assert all((x, y) in taken for x in range(WIDTH) for y in rows)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_variables_are_declared_and_used(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    declared = {variable["name"] for variable in dashboard["templating"]["list"]}
    text = json.dumps(dashboard["panels"])
    used = {name for name in ("agent_name", "interval") if f"${name}" in text} | {"datasource"}
    assert declared == used
    assert dashboard["title"].startswith("Rollcall / ")
    assert dashboard["description"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
