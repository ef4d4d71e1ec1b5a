"""The committed dashboards are those that the code writes, and ask for what exists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.grafana.boards.all import FOLDER, files
from deploy.grafana.boards.panels import MAY_BE_EMPTY
from services.adapters.metric_catalogue import CATALOGUE
from tests.tidy.tree import ROOT
from tests.unit.deployment.promql import unknown_names, wrong_matchers
from tests.unit.deployment.test_alerts import ALERTS, RECORDED

BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in files().items()}


def queries(board: dict[str, Any]) -> Iterator[str]:
    yield from (target["expr"] for panel in board["panels"] for target in panel.get("targets", []))
    yield from (mark["expr"] for mark in board["annotations"]["list"])
    yield from (variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query")


def test_the_committed_files_are_not_stale() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == files(), (
        "run: python -m deploy.grafana.boards"
    )


def test_there_is_a_board_for_each_question() -> None:
    assert {board["title"].partition(" / ")[2] for board in BOARDS.values()} == {
        "Overview",
        "Instrument",
        "Worker",
        "Incident",
    }


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_asks_for_what_is_exported(name: str) -> None:
    for expr in queries(BOARDS[name]):
        assert not unknown_names(expr, RECORDED), expr
        assert not list(wrong_matchers(expr)), expr


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_a_unit_words_and_runbook_entries_that_exist(name: str) -> None:
    for panel in BOARDS[name]["panels"]:
        if panel["type"] in ("row", "text"):
            continue
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"].endswith(".")
        assert panel["description"].count(MAY_BE_EMPTY) <= 1
        for link in panel.get("links", []):
            alert = link["title"].removeprefix("Runbook: ")
            assert alert in ALERTS
            assert link["url"] == f"${{runbook}}#{alert.lower()}"


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_shows_halts_and_deploys_and_links_the_others(name: str) -> None:
    board = BOARDS[name]
    assert {mark["name"] for mark in board["annotations"]["list"]} == {"Halts", "Deploys"}
    assert board["links"][0]["tags"] == ["ringfence"]
    assert "ringfence" in board["tags"]
    numbers = [panel["id"] for panel in board["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_alert_that_pages_is_on_a_board() -> None:
    linked = {
        link["title"].removeprefix("Runbook: ")
        for board in BOARDS.values()
        for panel in board["panels"]
        for link in panel.get("links", [])
    }
    pages = {name for name, alert in ALERTS.items() if alert["labels"]["severity"] == "critical"}
    # Without a link of their own: a reason on "Why a gate is shut", an alarm on "Alarms", an event on "What should be rare".
    within = {"RingfenceShardRefused", "RingfenceMalfunction", "RingfenceSegregationBreached", "RingfenceTableDamaged"}
    assert pages - linked <= within


def test_every_metric_is_asked_for_somewhere() -> None:
    asked = [expr for board in BOARDS.values() for expr in queries(board)] + [
        alert["expr"] for alert in ALERTS.values()
    ]
    assert not [entry.exposed for entry in CATALOGUE if not any(entry.exposed in expr for expr in asked)]


def test_grafana_reads_the_folder_that_is_written() -> None:
    assert FOLDER == ROOT / "deploy" / "grafana" / "dashboards"
