"""What a bucket is worth where several marks divide, several assets net, and one of them is owed."""

from __future__ import annotations

import pytest

from tests.support.script import Script


def test_two_inverse_positions_at_two_marks_net_in_coin() -> None:
    """Long 10 of 100 at 1000 and short 5 of 100 at 500, in coin: marks 1250 and 400 make 1 - 0.8 and 1.25 - 1 of profit.

    Maintenance 1 % of 0.8 and of 1.25 coin; equity 3 + 0.2 + 0.25 coin at 2000.
    """
    script = Script().account("cross").collateral("BTC").mark("2000", "BTC-USDT")
    inverse = {"contract": "inverse", "settlement_asset": "BTC", "contract_size": "100"}
    script.instrument("A-PERP", **inverse).instrument("B-PERP", **inverse)
    script.mark("1250", "A-PERP").mark("400", "B-PERP").transfer("3", bucket=None, asset="BTC")
    script.fill("buy", "10", "1000", instrument="A-PERP").fill("sell", "5", "500", instrument="B-PERP")
    view = script.view("main")
    assert view.equity == "6900"
    assert view.maintenance_margin == "41"
    assert [position.unrealised_pnl for position in view.positions] == ["0.2", "0.25"]
    assert [position.notional for position in view.positions] == ["0.8", "1.25"]


@pytest.mark.parametrize(("coins", "equity"), [("1", "90"), ("2", "180"), ("3", "230"), ("5", "310"), ("-1", "-100")])
def test_weights_are_marginal_and_debt_counts_in_full(coins: str, equity: str) -> None:
    """90 % of the first two coins, 50 % of the third, 40 % beyond, at 100 each."""
    tiers = [{"floor": "0", "weight": "0.9"}, {"floor": "2", "weight": "0.5"}, {"floor": "3", "weight": "0.4"}]
    script = Script().account("cross").collateral("BTC", weight_tiers=tiers).mark("100", "BTC-USDT")
    script.transfer(coins, "adjustment", bucket=None, asset="BTC")
    assert script.view("main").equity == equity


def test_initial_weights_and_liability_rates_raise_what_is_required() -> None:
    """Initial: 10 coins count 50 % less, 500 of 1000. What is owed, 200 of another asset, adds 5 % to both."""
    script = Script().account("cross")
    script.collateral("BTC", initial_weight_tiers=[{"floor": "0", "weight": "0.5"}]).mark("100", "BTC-USDT")
    script.collateral("ETH", liability_maintenance_rate="0.05").mark("20", "ETH-USDT")
    script.transfer("10", bucket=None, asset="BTC").transfer("-10", "adjustment", bucket=None, asset="ETH")
    view = script.view("main")
    assert (view.equity, view.initial_margin, view.maintenance_margin) == ("800", "510", "10")


def test_an_asset_without_a_record_counts_nothing_and_owed_makes_the_bucket_incomplete() -> None:
    script = Script().account("cross").transfer("10", bucket=None).transfer("5", bucket=None, asset="DOGE")
    assert (script.view("main").equity, script.view("main").status) == ("10", "healthy")
    script.transfer("-5.000000000000000001", "adjustment", bucket=None, asset="DOGE")
    assert (script.view("main").equity, script.view("main").status) == (None, "incomplete")


def test_a_price_floor_holds_where_the_mark_is_lower() -> None:
    script = Script().account("cross").collateral("USDC", price_floor="0.9").transfer("10", bucket=None, asset="USDC")
    assert script.mark("0.8", "USDC-USDT").view("main").equity == "9"
    assert script.mark("0.95", "USDC-USDT").view("main").equity == "9.5"


@pytest.mark.parametrize(("basis", "maintenance"), [("none", "10"), ("mark", "12"), ("bankruptcy", "11.8")])
def test_the_fee_of_closing_counts_where_the_venue_says_so(basis: str, maintenance: str) -> None:
    """1 % of 1000, and 0.2 % of the mark's notional or of the bankruptcy price's, 900."""
    script = Script().long(close_fee_basis=basis, liquidation_fee_rate="0.002")
    assert script.view().maintenance_margin == maintenance
    script.put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": "2", "effective_ms": 1})
    assert script.view().maintenance_margin == {"10": "20", "12": "24", "11.8": "23.6"}[maintenance]


@pytest.mark.parametrize(("boundary", "maintenance"), [("upper", "20"), ("lower", "10")])
def test_a_notional_on_a_floor_belongs_to_the_tier_that_the_venue_says(boundary: str, maintenance: str) -> None:
    """At exactly 1000 with deductions of the table's own, 0 each: 2 % of the upper tier or 1 % of the lower."""
    tiers = [
        {"notional_floor": "0", "maintenance_margin_rate": "0.01", "maintenance_deduction": "0"},
        {"notional_floor": "1000", "maintenance_margin_rate": "0.02", "maintenance_deduction": "0"},
    ]
    assert Script().long(margin_tiers=tiers, tier_boundary=boundary).view().maintenance_margin == maintenance


def test_maintenance_at_the_entry_price_does_not_move_with_the_mark() -> None:
    """1 % of 1000 at any mark; the initial margin is of the mark."""
    script = Script().long(maintenance_basis="entry").mark("950")
    assert (script.view().maintenance_margin, script.view().initial_margin) == ("10", "19")
