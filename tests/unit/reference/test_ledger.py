"""The cash model: balances, quantities and open costs after facts, by hand."""

from fractions import Fraction
from typing import Any

import pytest

from services.contracts.messages import Fill, Transfer
from services.reference.ledger import Ledger, apply_fill, apply_transfer, entry_price
from tests.unit.reference.making import spec


def fill(side: str, quantity: str, price: str, **fields: Any) -> Fill:
    return Fill(
        fill_id="f", account="a", instrument="P", side=side,
        quantity=quantity, price=price, ts_ms=0, **fields,
    )  # fmt: skip


def after(*fills: Fill, **fields: Any) -> Ledger:
    ledger = Ledger()
    for each in fills:
        apply_fill(ledger, each, spec(**fields))
    return ledger


def test_a_linear_fill_pays_its_cost_and_fee() -> None:
    """Buy 2 of 0.1 at 100, fee 0.5: -20 - 0.5."""
    ledger = after(fill("buy", "2", "100", fee="0.5"), contract_size="0.1")
    assert ledger.balances == {"USDT": Fraction("-20.5")}
    assert (ledger.quantities, ledger.open_costs) == ({("P", "net"): 2}, {("P", "net"): 20})


def test_a_fee_in_another_asset() -> None:
    assert after(fill("sell", "1", "100", fee="0.5", fee_asset="BNB")).balances == {
        "USDT": 100,
        "BNB": Fraction("-0.5"),
    }


@pytest.mark.parametrize(("side", "units"), [("buy", 333333333333333333), ("sell", -333333333333333334)])
def test_an_inverse_fill_rounds_against_the_account(side: str, units: int) -> None:
    """1/3 coin: received rounded down, paid rounded up."""
    ledger = after(fill(side, "1", "3"), contract="inverse", settlement_asset="BTC")
    assert ledger.balances == {"BTC": Fraction(units, 10**18)}
    assert ledger.open_costs["P", "net"] == Fraction(round(Fraction(10**54, 3)), 10**54)


def test_a_product_beyond_18_decimals_rounds_against_the_account() -> None:
    """1e-18·1.5: a buyer pays 2e-18, a seller gets 1e-18."""
    tiny = "0.000000000000000001"
    assert after(fill("buy", tiny, "1.5")).balances == {"USDT": Fraction(-2, 10**18)}
    assert after(fill("sell", tiny, "1.5")).balances == {"USDT": Fraction(1, 10**18)}


def test_adding_reducing_and_crossing() -> None:
    """Buy 1 at 100 and 1 at 200: cost 300, entry 150. Sell 1: cost 150. Sell 3 at 90: short 2 at 90, cost 180."""
    ledger = after(fill("buy", "1", "100"), fill("buy", "1", "200"))
    (held,) = ledger.holdings().positions
    assert (held.open_cost, entry_price(spec(), held)) == (300, 150)
    apply_fill(ledger, fill("sell", "1", "500"), spec())
    assert ledger.open_costs == {("P", "net"): 150}
    apply_fill(ledger, fill("sell", "3", "90"), spec())
    assert (ledger.quantities, ledger.open_costs) == ({("P", "net"): -2}, {("P", "net"): 180})


def test_a_closed_position_is_gone_and_leaves_its_profit() -> None:
    ledger = after(fill("buy", "1", "100"), fill("sell", "1", "130"))
    assert (ledger.quantities, ledger.open_costs, ledger.balances) == ({}, {}, {"USDT": 30})
    apply_fill(ledger, fill("buy", "1", "30"), spec())
    assert ledger.balances == {}


def test_hedge_legs_are_two_positions() -> None:
    ledger = after(fill("buy", "2", "10", position_side="long"), fill("sell", "1", "10", position_side="short"))
    assert ledger.quantities == {("P", "long"): 2, ("P", "short"): -1}


def test_an_inverse_entry_price_is_harmonic() -> None:
    """100 USD at 50 and 100 USD at 100: 2 + 1 coin, 200/3."""
    inverse = spec(contract="inverse", settlement_asset="BTC")
    ledger = after(fill("buy", "100", "50"), fill("buy", "100", "100"), contract="inverse", settlement_asset="BTC")
    assert entry_price(inverse, ledger.holdings().positions[0]) == Fraction(200, 3)


def test_transfers_moves_and_locks() -> None:
    ledgers = {"main": Ledger(), "P": Ledger()}

    def put(amount: str, reason: str, **fields: Any) -> None:
        transfer = Transfer(transfer_id="t", account="a", asset="USDT", amount=amount, reason=reason, ts_ms=0, **fields)
        apply_transfer(ledgers, transfer, "main")

    put("100", "deposit")
    put("-10", "withdrawal")
    put("40", "move", to_bucket="P")
    put("30", "lock")
    put("5", "unlock")
    put("-1.5", "funding")
    assert ledgers["main"].balances == {"USDT": Fraction("48.5")}
    assert (ledgers["main"].locked, ledgers["P"].balances) == ({"USDT": 25}, {"USDT": 40})
    put("25", "unlock")
    assert ledgers["main"].locked == {}
