"""`ringfence replay --report`: the page tells what the replay told, and a page that cannot be written is said before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.main import app
from tests.script.tape import Tape, run

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
ENGINES = pytest.mark.parametrize("engine", ["fast", "reference", "both"])


def falling() -> Tape:
    """Liquidated in part at 909, filled at 908.9, then calm again."""
    return Tape().long().mark("909").wait(100).mark("908.9").wait(1_000).mark("940")


def reported(tape: Tape, folder: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary line, and the data of the page."""
    page = folder / "report.html"
    outcome = run("replay", tape, "--report", str(page), *arguments, folder=folder)
    match = DATA.search(page.read_text())
    assert match is not None
    return next(line for line in outcome.lines if line["effect"] == "summary"), json.loads(match[1])


@ENGINES
def test_the_page_holds_what_the_replay_said(engine: str, tmp_path: Path) -> None:
    summary, data = reported(falling(), tmp_path, "--engine", engine)
    assert data["summary"] == summary
    (row,) = data["orders"]["rows"]
    told = dict(zip(data["orders"]["columns"], row, strict=True))
    assert (told["side"], told["quantity"], told["limit_price"], told["equity"]) == ("sell", "0.067", "908.3", "9")
    assert told["evidence"]["prices"] == {"BTC-PERP": [0, 1]}
    assert told["outcome"][:3] == ["filled", "0.067", "908.9"]
    story = data["accounts"]["stories"]["a-1"]
    assert story["before"]["BTC-PERP"]["positions"][0]["quantity"] == "1"
    assert story["after"]["BTC-PERP"]["positions"][0]["quantity"] == "0.933"
    assert [state[3] for state in story["states"]][-2:] == ["liquidating", "healthy"]
    path = data["equities"]["paths"]["a-1|BTC-PERP"]
    assert min(path["low"]) == pytest.approx(8.86955185)


def test_the_page_is_about_the_recording_and_compares_what_if(tmp_path: Path) -> None:
    changed = "instrument.BTC-PERP.maintenance_margin_rate=0.005"
    summary, data = reported(falling(), tmp_path, "--set", changed)
    assert data["summary"] == summary
    assert summary["orders"] == 1
    first, second = data["variants"]
    assert (first["summary"]["orders"], second["summary"]["orders"]) == (1, 0)
    assert second["changes"] == {"instrument.BTC-PERP.maintenance_margin_rate": "0.005"}
    assert second["first_difference"] is not None


def test_recorded_orders_are_judged_in_the_page(tmp_path: Path) -> None:
    """A recording that holds the order of its first replay, and one of another hand."""
    first = run("replay", falling(), folder=tmp_path)
    (order,) = first.effects("liquidation-order")
    message = {name: value for name, value in order.items() if name not in {"effect", "cause"}}
    tape = falling()
    for each in (message, message | {"order_id": "0" * 32, "account": "a-2"}):
        tape.lines.append({"topic": "liquidation-orders", "timestamp_ms": message["ts_ms"], "value": each})
    _, data = reported(tape, tmp_path, "--diff", "--matching", "next")
    assert data["diff"]["counts"]["recorded"] == 2
    assert data["diff"]["counts"]["same"] == 1
    assert [row["account"] for row in data["diff"]["findings"] if not row["is_good"]] == ["a-2"]


def test_effects_are_told_in_the_bin_of_their_record(tmp_path: Path) -> None:
    """However many records are read at once: the order of the last price but ten stands where that price stands."""
    tape = Tape().long()
    for number in range(40):
        tape.wait(1_000).mark("909" if number == 29 else "940")
    _, data = reported(tape, tmp_path)
    (instrument,) = data["market"]["instruments"]
    width, (place,) = data["grid"]["width_ms"], instrument["count"]["bin"]
    assert place * width <= 1_000 + 30_000 < (place + 1) * width


def test_quality_speaks_of_the_recording(tmp_path: Path) -> None:
    tape = Tape().long().wait(60_000).mark("1200")
    _, data = reported(tape, tmp_path)
    assert {finding["kind"] for finding in data["quality"]["findings"]} == {"silence", "jump"}


@pytest.mark.parametrize("there", ["missing/report.html", "."])
def test_a_place_that_cannot_be_written_is_told_first(there: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["replay", "-", "--json", "--report", str(tmp_path / there)], input=falling().text()
    )
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--report" in result.stderr


def test_nothing_is_written_of_a_replay_that_fails(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = CliRunner().invoke(
        app, ["replay", "-", "--report", str(page), "--set", "engine.latency_ms=x"], input=falling().text()
    )
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []
