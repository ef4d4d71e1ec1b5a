"""A convert order in a replay: the answer is a conversion of balances, never a position on the conversion instrument."""

from __future__ import annotations

import pytest

from tests.script.tape import Outcome, Tape, replay


def debt_against_coin() -> Tape:
    """1 BTC and 50 USDT owed: at 49.9 all of it has to be sold."""
    tape = Tape().instrument("BTC-USDT", tick_size="0.01", insurance_pool="USDT-main").account(mode="cross")
    tape.put("collateral", {"asset": "BTC", "price_instrument": "BTC-USDT", "conversion_instrument": "BTC-USDT"})
    tape.mark("100", "BTC-USDT").deposit("1", bucket="main", asset="BTC")
    tape.deposit("-50", bucket="main", reason="adjustment").wait(1_000)
    return tape.mark("49.9", "BTC-USDT").wait(100).mark("49.8", "BTC-USDT").wait(1_000).mark("49.8", "BTC-USDT")


@pytest.fixture(scope="module")
def replayed() -> Outcome:
    return replay(debt_against_coin(), "--matching", "next")


def test_it_leaves_no_position(replayed: Outcome) -> None:
    """49.8 less the taker fee of 0 and no liquidation fee, as nothing is left to pay it from: 0.2 USDT stay owed."""
    (order,) = replayed.effects("liquidation-order")
    assert (order["stage"], order["quantity"]) == ("convert", "1")
    assert [line["status"] for line in replayed.effects("account-state")][-1] == "bankrupt"
    assert replayed.summary["lowest_equity"] == "-0.2"


def test_engine_and_reference_agree() -> None:
    assert not replay(debt_against_coin(), "--matching", "next", "--engine", "both").effects("difference")
