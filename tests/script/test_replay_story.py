"""`replay --account` and `--until`: one account's story in words and numbers, and what stood at one order."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from services.cli.main import app
from tests.script.tape import START_MS, Outcome, Tape, replay


def closed() -> Tape:
    """Ordered at 909, filled at 908.9, healthy at 940; another account beside it."""
    tape = Tape().long().account("a-2").deposit("500", "main", "a-2").wait(500)
    return tape.mark("909").wait(100).mark("908.9").wait(1_000).mark("940")


def told(outcome: Outcome) -> list[tuple[str, str]]:
    return [(line["kind"], line["text"]) for line in outcome.effects("story")]


def lines_of(outcome: Outcome, kind: str) -> list[dict[str, Any]]:
    return [line for line in outcome.effects("story") if line["kind"] == kind]


def test_the_story_is_told_in_order_with_its_numbers() -> None:
    story = told(replay(closed(), "--account", "a-1"))
    assert [kind for kind, _ in story] == [
        "opened", "transfer", "status", "fill", "alarm", "status", "status", "order", "status", "fill", "answer", "status", "end",
    ]  # fmt: skip
    words = [text for _, text in story]
    assert words[0] == "isolated account of client c-1, client funds, valued in USDT"
    assert words[1].startswith("deposit of 100 USDT; then holds 100 USDT; equity 100 USDT")
    assert words[3].startswith("bought 1 BTC-PERP at 1000; then holds 1 BTC-PERP from 1000, -900 USDT")
    assert words[7] == (
        "order #1: sell 0.067 of 1 BTC-PERP at 908.3 or better (part of the position), because equity 9 was below the maintenance "
        "margin 9.09 at mark 909; its liquidation 909.1 and bankruptcy 900 price; filled at the limit it leaves equity "
        "8.9531 over maintenance 8.48097"
    )
    assert words[8].startswith("healthy -> liquidating at BTC-PERP 909: equity 9 USDT, maintenance 9.09, initial 18.18")
    assert words[9].startswith("liquidation: sold 0.067 BTC-PERP at 908.9, fee 0.03044815; then holds 0.933 BTC-PERP")
    assert words[10] == "the venue answers order #1 on BTC-PERP: filled 0.067 at 908.9"
    assert words[12].startswith("at the end healthy: holds 0.933 BTC-PERP")


def test_nothing_of_another_account_is_told() -> None:
    outcome = replay(closed(), "--account", "a-2")
    assert [kind for kind, _ in told(outcome)] == ["opened", "transfer", "status", "end"]
    assert outcome.effects("liquidation-order") == [], "only the story, then the summary"
    assert outcome.summary["accounts"] == 2


def test_an_account_that_is_not_there_is_said_to_be_not_there() -> None:
    assert told(replay(closed(), "--account", "a-9")) == [("end", "the recording holds nothing of a-9")]


def test_a_person_reads_lines_with_times() -> None:
    result = CliRunner().invoke(app, ["replay", "-", "--account", "a-1"], input=closed().text())
    assert result.stdout.startswith("2023-11-14 22:13:20.000  isolated account of client c-1")
    assert "2023-11-14 22:13:21.500  [BTC-PERP] order #1: sell 0.067" in result.stdout


def test_until_stops_at_the_order_and_shows_what_stood() -> None:
    order = replay(closed()).effects("liquidation-order")[0]
    outcome = replay(closed(), "--until", order["order_id"])
    (state,) = outcome.lines
    assert outcome.exit_code == 0
    assert state["from"] == "the replay"
    assert (state["bucket"]["status"], state["bucket"]["equity"]) == ("liquidating", "9")
    assert [(price["mark_price"], price["age_ms"]) for price in state["prices"]] == [("909", 0)]
    assert state["instruments"][0]["tick_size"] == "0.1"
    assert (state["controls"], state["epochs"]) == ([], {})


def test_until_an_order_that_only_the_recording_holds() -> None:
    order = {
        key: value
        for key, value in replay(closed()).effects("liquidation-order")[0].items()
        if key not in ("effect", "cause")
    }
    tape = Tape().long().mark("950").wait(100)
    tape.lines.append({"topic": "liquidation-orders", "timestamp_ms": START_MS + tape.at, "value": order})
    (state,) = replay(tape, "--until", order["order_id"], "--matching", "none").lines
    assert (state["from"], state["bucket"]["equity"]) == ("the recording", "50")


def test_an_order_that_never_comes_is_exit_1() -> None:
    outcome = replay(closed(), "--until", "0" * 32)
    assert (outcome.exit_code, "neither" in outcome.stderr) == (1, True)


def test_the_story_ends_before_a_what_if_is_told() -> None:
    result = CliRunner().invoke(app, ["replay", "-", "--account", "a-1", "--shock", "*=-1%@+0s"], input=closed().text())
    assert 0 < result.stdout.index("at the end healthy") < result.stdout.index("what if shock.*=-1%@+0s")
