"""What-if of feeds, latency and variants: each changes what it says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.main import app
from tests.script.tape import START_MS, Outcome, Tape, replay

# 1_700_000_000_000 is 22:13:20 UTC.


def calm() -> Tape:
    """A long of liquidation price 909.1 in a market that stands at 1000, a mark a second from 22:13:21 on."""
    tape = Tape().long()
    for _ in range(20):
        tape.mark("1000").wait(1_000)
    return tape


def runs(outcome: Outcome) -> list[dict[str, Any]]:
    (line,) = outcome.effects("what-if")
    return list(line["runs"])


def of_variant(outcome: Outcome, effect: str) -> list[dict[str, Any]]:
    return [line for line in outcome.effects(effect) if "variant" in line]


def test_a_shock_moves_the_marks_from_its_moment_on() -> None:
    outcome = replay(calm(), "--shock", "BTC-PERP=-9.1%@22:13:25")
    (order,) = of_variant(outcome, "liquidation-order")[:1]
    assert (order["mark_price"], order["ts_ms"]) == ("909", START_MS + 5_000)
    assert [line for line in outcome.effects("liquidation-order") if "variant" not in line] == []
    assert order["variant"] == {"shock.BTC-PERP": "-9.1%@22:13:25"}


@pytest.mark.parametrize("at", ["+5s", "2023-11-14T22:13:25Z", "22:13:25"])
def test_a_moment_is_written_in_three_ways(at: str) -> None:
    """The first price of the recording is that of 22:13:20."""
    outcome = replay(calm(), "--shock", f"BTC-PERP=-9.1%@{at}")
    assert of_variant(outcome, "liquidation-order")[0]["ts_ms"] == START_MS + 5_000


def test_a_ramp_goes_in_a_line_and_stays() -> None:
    """-10 % over ten seconds from 22:13:22: at 22:13:32 all of it; -9.1 % is passed at 22:13:31.1."""
    outcome = replay(calm(), "--shock", "*=-10%@22:13:22..22:13:32", "--matching", "none")
    order = of_variant(outcome, "liquidation-order")[0]
    assert (order["mark_price"], order["ts_ms"]) == ("900", START_MS + 12_000)


def test_a_missing_feed_is_stale_and_orders_nothing_until_it_is_back() -> None:
    tape = (
        Tape()
        .instrument(max_price_age_ms=2_000)
        .account()
        .deposit("100")
        .fill("buy", "1", "1000")
        .mark("1000")
        .wait(1_000)
    )
    for step in range(20):
        tape.mark("1000" if step < 5 else "909").wait(1_000)
    plain = replay(tape, "--drop", "BTC-PERP@22:13:25..22:13:35", "--matching", "none")
    first, late = plain.effects("liquidation-order")[0], of_variant(plain, "liquidation-order")[0]
    assert (first["ts_ms"], late["ts_ms"]) == (START_MS + 6_000, START_MS + 15_000)


def test_a_stuck_feed_says_the_same_with_fresh_times() -> None:
    tape = Tape().long()
    for step in range(20):
        tape.mark("1000" if step < 5 else "909").wait(1_000)
    outcome = replay(tape, "--stick", "BTC-PERP@22:13:25..22:13:35", "--matching", "none")
    assert of_variant(outcome, "liquidation-order")[0]["ts_ms"] == START_MS + 15_000


def test_orders_that_travel_are_answered_later() -> None:
    """Decided at 1 s; without latency the mark of 1.1 s fills it, with 500 ms that of 2 s does."""
    tape = Tape().long().mark("909").wait(100).mark("908.9").wait(900).mark("908.8").wait(1_000).mark("940")
    outcome = replay(tape, "--set", "venue.latency_ms=500")
    states = [
        (line["status"], line["ts_ms"] - START_MS) for line in outcome.effects("account-state") if "variant" not in line
    ]
    late = [(line["status"], line["ts_ms"] - START_MS) for line in of_variant(outcome, "account-state")]
    assert states[-2:] == [("liquidating", 1_000), ("healthy", 3_000)]
    assert late[-2:] == [("liquidating", 1_000), ("healthy", 3_000)]
    assert outcome.effects("summary")[0]["lowest_equity"] == "8.77625185", "filled at 908.9, then 0.933 at 908.8"
    assert outcome.effects("summary")[1]["lowest_equity"] == "8.7695552", "all of it filled at 908.8"


def test_an_order_that_arrives_when_it_is_no_longer_valid_is_not_executed() -> None:
    tape = Tape().long().mark("909").wait(2_900).mark("909").wait(100).mark("909")
    outcome = replay(tape, "--set", "venue.latency_ms=2100")
    assert len({line["order_id"] for line in of_variant(outcome, "liquidation-order")}) == 2, (
        "it expired: a second attempt"
    )


def test_latency_needs_a_venue_that_is_simulated() -> None:
    result = CliRunner().invoke(
        app, ["replay", "-", "--matching", "none", "--set", "venue.latency_ms=1"], input=calm().text()
    )
    assert (result.exit_code, "--matching next or limit" in result.stderr) == (2, True)


def test_variants_run_side_by_side_in_one_pass() -> None:
    tape = Tape().long().mark("910").wait(1_000).mark("909").wait(5_000).mark("1000")
    outcome = replay(
        tape, "--variant", "strict:instrument.BTC-PERP.maintenance_margin_rate=0.02", "--variant", "crash:shock=BTC-PERP=-15%@+0s,engine.half_spread=0.01",
        "--set", "engine.half_spread=0.001", "--matching", "none",
    )  # fmt: skip
    base, spread, strict, crash = runs(outcome)
    assert [run["variant"].get("name") for run in (base, spread, strict, crash)] == [None, None, "strict", "crash"]
    assert [run["orders"] for run in (base, spread, strict, crash)] == [1, 1, 1, 1]
    assert base["first_difference"] is None
    assert base["notional"] == {"USDT": "60.903"}, "0.067 at 909"
    assert strict["first_difference"]["ts_ms"] < spread["first_difference"]["ts_ms"] == START_MS + 2_000
    assert (base["negative_buckets"], crash["negative_buckets"], crash["deficit"]) == (0, 1, {"USDT": "50"})
    assert [line["effect"] for line in outcome.lines[-5:]] == ["what-if", *["summary"] * 4]


def test_the_recording_as_it_is_comes_first_and_is_not_changed_by_its_variants() -> None:
    tape = Tape().long().mark("909").wait(100).mark("905").wait(100).mark("906")
    plain = replay(tape)
    beside = replay(tape, "--shock", "BTC-PERP=-1%@+0s")
    assert beside.lines[: len(plain.lines) - 1] == plain.lines[:-1]
    assert beside.effects("summary")[0]["state_hash"] == plain.summary["state_hash"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--shock", "BTC-PERP=-10%"], ["--shock", "BTC-PERP=ten@21:15"], ["--shock", "BTC-PERP=-100%@21:15"],
        ["--shock", "BTC-PERP=-1%@25:00"], ["--drop", "BTC-PERP@21:15"], ["--stick", "@21:15..21:16"],
        ["--variant", "nameless"], ["--variant", "x:engine.unheard_of=1"], ["--drop", "NONE-PERP@+0s..+1s"],
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_wrong_use(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["replay", "-", *arguments], input=calm().text())
    assert result.exit_code == 2
    assert arguments[1].split(":")[0] in result.stderr or arguments[1] in result.stderr
