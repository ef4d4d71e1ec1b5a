"""Expiry as scripts: an option leaves a ledger by its settlement fill and by nothing else, at 0 where it is worthless."""

from __future__ import annotations

import pytest

from tests.script.tape import Tape, replay, run

OPTION = "BTC-1JAN26-1000-C"


def short_call(status: str = "trading") -> Tape:
    """One call at 1000 sold for 20 with 100 USDT: initial 15 %, maintenance 7.5 % of the underlying at 1000, equity 100."""
    tape = Tape().put("instruments", instrument(status)).account(mode="cross")
    tape.deposit("100", bucket="main").fill("sell", "1", "20", instrument=OPTION)
    return tape.put("prices", premium("20", "1000")).wait(1_000).put("prices", premium("20", "1000"))


def instrument(status: str, contract: str = "linear") -> dict[str, object]:
    rates = {"short_initial_rate": "0.15", "short_minimum_rate": "0.1", "short_maintenance_rate": "0.075"}
    return {
        "instrument": OPTION, "kind": "option", "contract": contract, "underlying": "BTC", "settlement_asset": "USDT",
        "expiry_ms": 1_767_225_600_000, "strike": "1000", "option_type": "call", "status": status, "tick_size": "0.1",
        "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}], "option_margin": rates,
    }  # fmt: skip


def premium(mark: str, forward: str) -> dict[str, object]:
    return {"instrument": OPTION, "mark_price": mark, "index_price": forward, "implied_volatility": "0.5"}


def settled_at(tape: Tape, price: str) -> Tape:
    return tape.fill("buy", "1", price, instrument=OPTION, exec_type="settlement")


def test_a_worthless_option_settles_at_zero() -> None:
    (row,) = run("margin", settled_at(short_call("settling"), "0")).lines
    assert (row["balances"], row["positions"], row["equity"]) == ({"USDT": "120"}, [], "120")


@pytest.mark.parametrize("status", ["settling", "settled"])
def test_no_order_closes_what_only_waits_for_its_settlement(status: str) -> None:
    """The premium at 90: equity 30, maintenance 82.5. Trading, it is closed; settling, its fill decides."""
    breached = ("--matching", "none", "--engine", "both")
    traded = replay(short_call().put("prices", premium("90", "1100")).wait(10), *breached)
    assert traded.effects("liquidation-order")
    waiting = replay(short_call(status).put("prices", premium("90", "1100")).wait(10), *breached)
    assert not waiting.effects("liquidation-order")
    after = replay(settled_at(short_call(status).put("prices", premium("90", "1100")), "100"), *breached)
    assert not after.effects("liquidation-order")


def test_a_mark_of_zero_is_a_price_for_an_option() -> None:
    """Nothing is left below it: the views still answer."""
    (row,) = run("margin", short_call().put("prices", premium("0", "900"))).lines
    assert (row["equity"], row["positions"][0]["mark_price"]) == ("120", "0")


def test_an_inverse_contract_settled_at_zero_leaves_a_doubt_and_not_a_crash() -> None:
    tape = Tape().instrument(contract="inverse", settlement_asset="BTC").account(mode="cross", valuation_asset="BTC")
    tape.deposit("1", bucket="main", asset="BTC").fill("buy", "100", "1000").mark("1000")
    outcome = replay(tape.fill("sell", "100", "0", exec_type="settlement"), "--engine", "both")
    assert [letter["reason"] for letter in outcome.effects("dead-letter")] == ["price_not_positive"]
    assert run("margin", tape).lines[0]["status"] == "dirty"
