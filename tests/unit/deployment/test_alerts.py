"""The alerts speak of metrics that exist, say what to do, and do what their cases say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.adapters.metric_catalogue import BY_NAME
from tests.support.prometheus import LOWERED, hurried
from tests.tidy.tree import ROOT
from tests.unit.deployment.promql import unknown_names, wrong_matchers

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
CASES = sorted((FOLDER / "tests").glob("*.yml"))
OBJECTIVES = {"mark_evaluation_seconds": "0.1", "order_ack_seconds": "0.25"}
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def test_no_name_is_used_twice() -> None:
    assert len(ALERTS) + len(RECORDED) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_what_is_exported(rule: dict[str, Any]) -> None:
    assert not unknown_names(rule["expr"], RECORDED)
    assert not list(wrong_matchers(rule["expr"]))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_how_bad_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert re.fullmatch(r"Ringfence([A-Z][a-z]+)+", name)
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in ("none" if name == "RingfenceWatchdog" else "critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"deploy/runbook.md#{name.lower()}"


@pytest.mark.parametrize(("metric", "bound"), OBJECTIVES.items())
def test_an_objective_is_counted_at_the_edge_of_a_bucket(metric: str, bound: str) -> None:
    assert float(bound) in BY_NAME[metric].times
    edges = {edge for rule in RULES for edge in re.findall(rf'ringfence_{metric}_bucket{{le="([^"]+)"}}', rule["expr"])}
    assert edges == {bound}


@pytest.mark.parametrize("objective", ["marks_late", "orders_late"])
def test_each_burn_rate_has_its_windows(objective: str) -> None:
    for window in WINDOWS:
        (rule,) = [each for each in RULES if each.get("record") == f"ringfence:{objective}:ratio_rate{window}"]
        assert set(re.findall(r"\[(\w+)\]", rule["expr"])) == {window}


def test_each_alert_has_a_case_that_fires_and_one_that_stays_quiet() -> None:
    fired: set[str] = set()
    quiet: set[str] = set()
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for each in case["alert_rule_test"]:
                (fired if each["exp_alerts"] else quiet).add(each["alertname"])
    assert fired == set(ALERTS)
    assert quiet == set(ALERTS) - {"RingfenceWatchdog"}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
@pytest.mark.slow
def test_the_cases_hold(promtool: str, path: Path) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration(promtool: str) -> None:
    config = FOLDER / "prometheus.yml"
    assert yaml.safe_load(config.read_text())["rule_files"] == ["alerts.yml"]
    done = subprocess.run(
        [promtool, "check", "config", str(config)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_a_hurry_only_durations_and_one_limit_differ(promtool: str, tmp_path: Path) -> None:
    text = (FOLDER / "alerts.yml").read_text()
    quick = tmp_path / "alerts.yml"
    quick.write_text(hurried(text))
    done = subprocess.run(
        [promtool, "check", "rules", str(quick)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"(for: \d+m|\[\d+[mhd]\])", quick.read_text())
    rules = [rule for group in yaml.safe_load(quick.read_text())["groups"] for rule in group["rules"]]
    shape = re.compile(r"\d+(ms|[smhd])\b")
    for quickened, rule in zip(rules, RULES, strict=True):
        said = str(rule)
        for limit, lower in LOWERED.items():
            said = said.replace(limit, lower)
        assert shape.sub("T", str(quickened)) == shape.sub("T", said)
