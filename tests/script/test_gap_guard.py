"""The gap guard as scripts: closed in time although above maintenance, left alone when not at risk, and off unless set.

One contract bought at 1000 with 40 USDT: maintenance is 10, equity 40 at the start. With z = 3, σ = 1 % in a square root of a second
and a reaction time of one second the expected loss is 3 % of the notional: about 30.
"""

from __future__ import annotations

from typing import Any

from tests.script.tape import Outcome, Tape, replay

GUARD = (
    "--set", "engine.gap_z=3", "--set", "engine.default_sigma=0.01", "--set", "engine.gap_reaction_ms=1000",
    "--set", "engine.hysteresis=0.05",
)  # fmt: skip
ALL = ("--set", "engine.gap_guard=all", *GUARD)
CROSS = ("--set", "engine.gap_guard=cross", *GUARD)
TWO_TIERS = [
    {"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"},
    {"notional_floor": "1000000", "initial_margin_rate": "0.04", "maintenance_margin_rate": "0.02"},
]


def bucket(deposit: str = "40", mode: str = "isolated", **instrument: Any) -> Tape:
    tape = Tape().instrument(**instrument).account(mode=mode)
    name = "BTC-PERP" if mode == "isolated" else "main"
    return tape.deposit(deposit, bucket=name).fill("buy", "1", "1000").mark("1000").wait(1_000).mark("1000")


def orders(outcome: Outcome, *, guarded: bool) -> list[dict[str, Any]]:
    """The orders of the run as recorded, or of the what-if run."""
    return [line for line in outcome.effects("liquidation-order") if ("variant" in line) is guarded]


def summaries(outcome: Outcome) -> list[dict[str, Any]]:
    return outcome.effects("summary")


def test_a_bucket_within_a_gap_of_zero_is_closed_just_enough() -> None:
    """At 985 equity is 25, maintenance 9.85, the expected loss 29.55: closing brings (1 + b)·loss under the equity."""
    outcome = replay(bucket().mark("985").wait(10).mark("985"), *ALL, "--matching", "none")
    assert not orders(outcome, guarded=False)
    (order,) = orders(outcome, guarded=True)
    assert (order["trigger"], order["stage"], order["equity"]) == ("gap_guard", "partial", "25")
    # Fee 0.05 %, slippage 0.1 %: 25 - f·985·0.0015 >= 1.05·(1 - f)·29.55, so f >= 6.0275/29.55 = 0.20398, up to the lot.
    assert order["quantity"] == "0.204"


def test_its_twin_that_is_not_at_risk_is_left_alone() -> None:
    """The same market and 60 USDT: at 985 equity is 45, more than any 29.55."""
    outcome = replay(bucket("60").mark("985").wait(10).mark("985"), *ALL)
    assert not outcome.effects("liquidation-order")


def test_the_edge_is_strict() -> None:
    """Equity 30 and an expected loss of exactly 30: not below zero, not closed."""
    assert not replay(bucket("30"), *ALL).effects("liquidation-order")
    assert orders(replay(bucket("29.99"), *ALL), guarded=True)


def test_nothing_happens_unless_it_is_set() -> None:
    """Quantile and reaction time alone change nothing: above maintenance nobody is closed."""
    tape = bucket().mark("985").wait(10).mark("970")
    outcome = replay(tape, *GUARD)
    plain, guarded = summaries(outcome)
    assert not outcome.effects("liquidation-order")
    assert plain["state_hash"] == guarded["state_hash"]


def test_cross_spares_an_isolated_bucket_on_a_flat_tier_only() -> None:
    assert not replay(bucket(), *CROSS).effects("liquidation-order")
    falling = {mode: bucket(mode=mode).mark("985") for mode in ("isolated", "cross")}
    assert not replay(falling["isolated"], *CROSS).effects("liquidation-order")
    assert orders(replay(falling["cross"], *CROSS), guarded=True)
    assert orders(replay(bucket(margin_tiers=TWO_TIERS).mark("985"), *CROSS), guarded=True)


def test_below_maintenance_the_trigger_is_the_breach() -> None:
    """At 965 equity is 5 and maintenance 9.65: without the guard too. With it more is closed."""
    outcome = replay(bucket().mark("965"), *ALL, "--matching", "none")
    (plain,), (guarded,) = orders(outcome, guarded=False), orders(outcome, guarded=True)
    assert plain["trigger"] == guarded["trigger"] == "maintenance_breach"
    assert float(guarded["quantity"]) > float(plain["quantity"])


def test_a_gap_makes_a_negative_bucket_only_where_nobody_guards() -> None:
    """985, then 955 in one step: whoever waited for maintenance stands at -5; whoever was guarded closed most of it before.

    The orders are filled at the next mark that is no worse than their limit: a short pause at 985 is enough.
    """
    tape = bucket().mark("985").wait(100).mark("985").wait(100).mark("985").wait(100).mark("955").wait(100).mark("955")
    outcome = replay(tape, *ALL)
    plain, guarded = summaries(outcome)
    assert plain["negative_buckets"] == 1
    assert guarded["negative_buckets"] == 0


def test_reference_and_full_scan_agree() -> None:
    tape = bucket(mode="cross").mark("985").wait(50).mark("980").wait(50).mark("990").wait(500).mark("960")
    assert not replay(tape, *CROSS, "--engine", "both").effects("difference")
    fast, scan = (replay(tape, *CROSS, "--engine", name) for name in ("fast", "full-scan"))
    assert fast.story == scan.story
