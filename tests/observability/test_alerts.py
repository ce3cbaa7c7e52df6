"""Each alert has its section of the runbook, asks for metrics that there are, and fires when it should."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.known import GIVEN, RULES, RUNBOOK, alerts, recorded, rules, series
from tests.observability.promql import labels_in, metrics_in
from tests.support.prometheus import program

CASES = Path(__file__).parent / "rules"
SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
EVERY_ALERT = [pytest.param(alert, id=alert["alert"]) for alert in alerts()]


def promtool(*arguments: str) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    sections = SECTION.findall(RUNBOOK.read_text())
    assert sorted(name for name, _ in sections) == sorted(alert["alert"] for alert in alerts())
    for name, text in sections:
        for part in ("**Means.**", "**Confirm.**", "**Do.**"):
            assert part in text, f"{name} has no {part}"


@pytest.mark.parametrize("alert", EVERY_ALERT)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"
    assert alert["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    known = series()
    assert metrics_in(rule["expr"]) <= {*known, *GIVEN, *recorded()}
    for name, labels in labels_in(rule["expr"]).items():
        if name in known:
            assert labels <= {*known[name].labels}


def test_links_within_the_runbook_lead_somewhere() -> None:
    text = RUNBOOK.read_text()
    anchors = {name.lower() for name, _ in SECTION.findall(text)}
    assert set(re.findall(r"\(#(\w+)\)", text)) <= anchors


def test_prometheus_reads_the_rules_and_its_configuration() -> None:
    files = [str(file) for file in RULES]
    promtool("check", "rules", *files)
    promtool("check", "config", "--syntax-only", str(RULES[0].parents[1] / "prometheus.yml"))


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_alerts_fire_when_they_should_and_only_then(case: Path) -> None:
    promtool("test", "rules", str(case))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    cases = [case for file in CASES.glob("*.yaml") for case in yaml.safe_load(file.read_text())["tests"]]
    tried = set()
    for case in cases:
        name, verb = case["name"].split()[:2]
        [check] = case["promql_expr_test"]
        assert f'alertname="{name}"' in check["expr"]
        assert bool(check["exp_samples"]) == (verb == "fires"), case["name"]
        tried.add((name, verb))
    assert tried == {(alert["alert"], verb) for alert in alerts() for verb in ("fires", "silent")}


def test_the_windows_of_the_objective_differ_in_nothing_else() -> None:
    shapes = {
        rule["expr"].replace(f"[{rule['record'].rpartition('rate')[2]}]", "[window]")
        for rule in rules()
        if "record" in rule
    }
    assert len(shapes) == 1
    assert 'canary="false"' in shapes.pop()
