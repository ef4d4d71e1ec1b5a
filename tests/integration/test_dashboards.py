"""Every query of every dashboard, asked of a real Prometheus that scraped real workers under load."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from services.adapters.metric_catalogue import CATALOGUE, RISK, series
from tests.integration.venue import CRASH_PRICE, INSTRUMENT, until
from tests.integration.watched import Watched
from tests.support.prometheus import PrometheusServer
from tests.tidy.tree import ROOT

BOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
VARIABLES = {"$__rate_interval": "5s", "$instrument": ".*", "$instance": ".*"}
LOAD_S = 8  # so many seconds of samples are there before anything is asked
ONLY_WHERE_SET = {"memory_limit_bytes"}

pytestmark = pytest.mark.slow


def filled_in(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def asked(board: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Where each query stands, the query, and whether it may find nothing."""
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield f"{board['title']}: {panel['title']}", target["expr"], "Empty " in panel["description"]
    for mark in board["annotations"]["list"]:
        yield f"{board['title']}: {mark['name']}", mark["expr"], True
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            (metric,) = re.findall(r"label_values\((.*), \w+\)", variable["query"]["query"])
            yield f"{board['title']}: ${variable['name']}", metric, False


async def test_every_query_finds_data_and_every_metric_is_exported(watched: Watched, promtool: str) -> None:
    prometheus = watched.prometheus
    await watched.venue.open_accounts(0, 60)
    first, second = await watched.work("w-1", "w-2")
    watched.prices[INSTRUMENT] = CRASH_PRICE

    async def has_run() -> bool:
        samples = await asyncio.to_thread(prometheus.query, f"min(count_over_time(up[{LOAD_S}s]))")
        orders = await asyncio.to_thread(prometheus.query, "sum(rate(ringfence_order_ack_seconds_count[5s])) > 0")
        return bool(samples) and float(samples[0]["value"][1]) >= 2 * LOAD_S - 1 and bool(orders)

    async def keeps_ordering() -> None:
        """More accounts go under while samples gather."""
        number = 60
        while True:
            await watched.venue.open_accounts(number, 6)
            number += 6
            await asyncio.sleep(0.5)

    ordering = asyncio.ensure_future(keeps_ordering())
    await until("samples of some seconds", has_run, 60)
    wrong = [found for board in BOARDS for found in await check_board(prometheus, json.loads(board.read_text()))]
    assert not wrong, "\n".join(wrong)
    assert await asyncio.to_thread(prometheus.rule_errors) == []
    ordering.cancel()
    for worker in (first, second):
        status, text = await worker.get("/metrics")
        assert status == 200
        check_exposition(promtool, text)


async def test_a_query_without_data_or_sense_is_found(watched: Watched) -> None:
    """The check above can fail."""
    await watched.work("w-1")
    for expr in ("ringfence_no_such_metric", "sum(ringfence_buckets"):
        panel = {"title": "P", "description": "", "targets": [{"expr": expr}]}
        board = {"title": "B", "panels": [panel], "annotations": {"list": []}, "templating": {"list": []}}
        assert len(await check_board(watched.prometheus, board)) == 1


async def check_board(prometheus: PrometheusServer, board: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    for where, expr, may_be_empty in asked(board):
        try:
            found = await asyncio.to_thread(prometheus.query, filled_in(expr))
        except ValueError as refused:
            wrong.append(f"{where}: {expr}: {refused}")
            continue
        if not may_be_empty and not [each for each in found if each["value"][1] != "NaN"]:
            wrong.append(f"{where}: no data: {expr}")
    return wrong


def check_exposition(promtool: str, text: str) -> None:
    """Prometheus' own checker has no complaint, and the catalogue names exactly what is there."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if line.startswith("ringfence_")]
    assert not complaints, "\n".join(complaints)
    exported = {re.split(r"[ {]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert {name for name in exported if name.startswith("ringfence_")} <= series()
    announced = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))  # some have series in trouble only
    missing = {e.exposed for e in CATALOGUE if e.section != RISK and e.name not in ONLY_WHERE_SET} - announced
    assert not missing, f"in the catalogue, and no worker exports it: {sorted(missing)}"
