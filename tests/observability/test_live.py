"""A run of the whole stack is to be seen in every panel, and an alert is to reach somebody."""

import re
import time
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from deploy.grafana.generate import FOLDER
from deploy.grafana.query import Choice, Prometheus, read_panels
from tests.observability.conftest import Observed, join_and_fail, until_failed
from tests.observability.known import alerts, catalogue
from tests.observability.promql import metrics_in
from tests.support.sessions import until

pytestmark = pytest.mark.e2e

CHOICE = Choice(interval="2m", range="5m")
# Shown only once there is something to show.
NOT_IN_A_RUN = {"inference_quota_limit", "inference_quota_used", "sessions_waiting"}
ADDED_BY_PROMETHEUS = {"up", "ALERTS", "ALERTS_FOR_STATE"}
FOREIGN = ("python_", "process_", "scrape_", "lk_agents_")
SETTLED_S = 60.0


def _panels() -> list[tuple[str, dict[str, Any]]]:
    return [
        (file.stem, panel)
        for file in sorted(FOLDER.glob("*.json"))
        for panel in read_panels(file)
        if panel["type"] != "row"
    ]


def _without_data(prometheus: Prometheus, expressions: list[tuple[str, str]]) -> dict[str, str]:
    return {what: text for what, text in expressions if not prometheus.instant(CHOICE.put_into(text))}


def _tell(title: str, asked: list[tuple[str, str]], missing: dict[str, str]) -> None:
    table = Table("query", "data", title=title)
    for what, _ in asked:
        table.add_row(what, "no" if what in missing else "yes")
    Console(width=120).print(table)


async def test_every_panel_shows_what_happened(observed: Observed) -> None:
    asked = [
        (f"{stem}: {panel['title']}: {target['legendFormat']}", target["expr"])
        for stem, panel in _panels()
        for target in panel["targets"]
    ]
    missing: dict[str, str] = {}

    async def all_there() -> bool:
        nonlocal missing
        missing = _without_data(observed.observatory.prometheus, asked)
        if missing:  # some only show what has just happened
            await join_and_fail(observed.rollcall)
        return not missing

    try:
        await until(all_there, what="every panel has data", timeout_s=SETTLED_S)
    finally:
        _tell("panels", asked, missing)
    for what, expression in asked:
        start = time.time() - 120
        points = observed.observatory.prometheus.over_time(
            CHOICE.put_into(expression), start=start, end=time.time(), step_s=5
        )
        assert points, what


async def test_the_panels_of_one_agent_leave_the_others_out(observed: Observed) -> None:
    prometheus = observed.observatory.prometheus
    for stem, panel in _panels():
        for target in panel["targets"]:
            if "$agent_name" not in target["expr"] or "vector(0)" in target["expr"]:
                continue
            nobody = Choice("60s", "5m", agent_name="nobody-of-this-name").put_into(target["expr"])
            assert not prometheus.instant(nobody), (stem, panel["title"])


async def test_what_the_alerts_ask_for_is_there(observed: Observed) -> None:
    asked = [
        (f"{alert['alert']}: {name}", f"last_over_time({name}[5m])")
        for alert in alerts()
        for name in sorted(metrics_in(alert["expr"]))
    ]
    missing = _without_data(observed.observatory.prometheus, asked)
    _tell("alerts", asked, missing)
    assert {name for text in missing.values() for name in metrics_in(text)} <= NOT_IN_A_RUN


async def test_the_processes_serve_what_the_catalogue_says_and_nothing_else(observed: Observed) -> None:
    prometheus, ours = observed.observatory.prometheus, set()
    for job in {service for metric in catalogue() for service in metric.services}:
        served = {
            re.sub(r"_created$", "_total", name)
            for name in prometheus.names(f'{{job="{job}"}}')
            if not name.startswith(FOREIGN)
        }
        known = {name for metric in catalogue() if job in metric.services for name in _all_names(metric)}
        assert served - known - ADDED_BY_PROMETHEUS == set(), job
        ours |= served
    # A metric whose labels' values are not known beforehand is shown from its first count on.
    shown = [metric for metric in catalogue() if all(metric.labels.values())]
    silent = {metric.name for metric in shown if not ours & _all_names(metric)}
    assert silent <= NOT_IN_A_RUN, "in the catalogue, and in no process"


def _all_names(metric: Any) -> set[str]:
    return {*metric.series, metric.name, f"{metric.name}_created", f"{metric.name}_total"}


async def test_without_its_worker_an_alert_fires_and_ends_when_the_worker_is_back(
    observed: Observed,
) -> None:
    rollcall, observatory = observed.rollcall, observed.observatory
    agent = rollcall.stack.process("agent")
    agent.kill(group=True)
    await agent.wait_exit()

    async def told(status: str) -> bool:
        return observatory.alert_told("NoWorkerForAgentName", status, agent_name="agent")

    async def fires() -> bool:
        if not await told("firing"):
            await until_failed(rollcall, await rollcall.start())
        return await told("firing")

    await until(fires, what="the receiver was told that no worker serves the name")
    await agent.start()
    await until(lambda: told("resolved"), what="the receiver was told that it is over")
    assert not observatory.alert_told("NobodyGauges", "firing")
