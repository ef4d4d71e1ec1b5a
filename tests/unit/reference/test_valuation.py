"""Equity and requirements against arithmetic done by hand."""

from fractions import Fraction

import pytest

from services.reference.holdings import Incomplete
from services.reference.roots import assess
from services.reference.specs import Weight
from services.reference.valuation import counted, tier_of
from tests.unit.reference.making import holdings, market, position, spec

BTC = {"asset": "BTC", "price_instrument": "BTC-USDT"}


def test_a_linear_position_nets_with_its_balance() -> None:
    """Long 2 at 100, cash 50: balance 50 - 200 = -150; at 110 value 220, equity 70, N 220, MM 1 % = 2.2."""
    valuation = assess(holdings({"USDT": "-150"}, position("P", "2", "200")), market(spec(), marks={"P": "110"}))
    assert (valuation.equity, valuation.maintenance_margin) == (70, Fraction("2.2"))


def test_an_inverse_position_is_valued_in_the_coin() -> None:
    """Short 1,000 USD at 100 (cost -10 coin), 5 coin of collateral: balance 5 - 10 = -5; at 80 value +12.5, equity 7.5,
    N = 12.5, MM 1 % = 0.125 coin."""
    inverse = spec(contract="inverse", settlement_asset="BTC")
    valuation = assess(
        holdings({"BTC": "-5"}, position("P", "-1000", "10")), market(inverse, marks={"P": "80"}, asset="BTC")
    )
    assert (valuation.equity, valuation.maintenance_margin) == (Fraction("7.5"), Fraction("0.125"))


def test_contract_size_multiplies() -> None:
    """3 contracts of 0.01 at 200: value 6, N 6, MM 0.06."""
    valuation = assess(
        holdings({"USDT": "10"}, position("P", "3")), market(spec(contract_size="0.01"), marks={"P": "200"})
    )
    assert (valuation.equity, valuation.maintenance_margin) == (16, Fraction("0.06"))


@pytest.mark.parametrize(("notional", "upper", "lower"), [(99, 0, 0), (100, 1, 0), (101, 1, 1), (0, 0, 0)])
def test_a_notional_on_a_floor_belongs_where_the_venue_says(notional: int, upper: int, lower: int) -> None:
    tiers = spec(tiers=[("0", "0.01"), ("100", "0.02")]).maintenance_tiers
    assert tiers.index(tier_of(tiers, "upper", Fraction(notional))) == upper
    assert tiers.index(tier_of(tiers, "lower", Fraction(notional))) == lower


def test_a_deduction_of_its_own_replaces_the_derived_one_and_carries_on() -> None:
    """Tier 100 has its own 0.5 (derived: 1); tier 200 continues from it: 0.5 + 200·0.01 = 2.5."""
    listed = [
        {"notional_floor": "0", "maintenance_margin_rate": "0.01"},
        {"notional_floor": "100", "maintenance_margin_rate": "0.02", "maintenance_deduction": "0.5"},
        {"notional_floor": "200", "maintenance_margin_rate": "0.03"},
    ]
    assert [t.deduction for t in spec(margin_tiers=listed).maintenance_tiers] == [0, Fraction("0.5"), Fraction("2.5")]


def test_initial_rates_are_their_own_and_default_to_maintenance() -> None:
    """N 300: IM tiers 2 % to 100, then 3 % (the maintenance rate): 300·3 % - 100·1 % = 8; MM 300·3 % - 100·2 % = 7."""
    listed = [
        {"notional_floor": "0", "maintenance_margin_rate": "0.01", "initial_margin_rate": "0.02"},
        {"notional_floor": "100", "maintenance_margin_rate": "0.03"},
    ]
    valuation = assess(
        holdings({"USDT": "0"}, position("P", "3")), market(spec(margin_tiers=listed), marks={"P": "100"})
    )
    assert (valuation.initial_margin, valuation.maintenance_margin) == (8, 7)


@pytest.mark.parametrize(
    ("fields", "maintenance", "initial"),
    [
        ({"close_fee_basis": "mark"}, "1.65", "1.65"),  # 110·(1 % + 0.5 %)
        ({"maintenance_basis": "entry"}, "1", "1.1"),  # 100·1 %; the initial one stays at the mark
        ({"maintenance_basis": "entry", "close_fee_basis": "mark"}, "1.55", "1.65"),
        ({"close_fee_basis": "bankruptcy"}, "1.5", "1.5"),  # bankruptcy price 80: 110·1 % + 80·0.5 %
    ],
)
def test_venue_conventions(fields: dict[str, str], maintenance: str, initial: str) -> None:
    """Long 1 at 100 with 20, mark 110, fee 0.5 %."""
    at = market(spec(liquidation_fee_rate="0.005", **fields), marks={"P": "110"})
    valuation = assess(holdings({"USDT": "-80"}, position("P", "1", "100")), at)
    assert (valuation.maintenance_margin, valuation.initial_margin) == (Fraction(maintenance), Fraction(initial))


def test_the_multiplier_scales_rates_deductions_and_fee() -> None:
    """N 200, 1 % to 100 then 2 %: 3; fee 0.5 % = 1; times 1.5 = 6."""
    at = market(
        spec(tiers=[("0", "0.01"), ("100", "0.02")], close_fee_basis="mark", liquidation_fee_rate="0.005"),
        marks={"P": "200"}, multipliers={"P": Fraction("1.5")},
    )  # fmt: skip
    assert assess(holdings({}, position("P", "1")), at).maintenance_margin == 6


@pytest.mark.parametrize(("amount", "counts"), [("50", "45"), ("100", "90"), ("150", "115"), ("-7", "-7"), ("0", "0")])
def test_weights_are_marginal(amount: str, counts: str) -> None:
    """0.9 to 100, then 0.5: 150 counts 90 + 25. What is owed counts in full."""
    weights = (Weight(Fraction(0), Fraction("0.9")), Weight(Fraction(100), Fraction("0.5")))
    assert counted(Fraction(amount), weights) == Fraction(counts)


def test_collateral_counts_with_its_weight_and_price() -> None:
    """2 BTC at 50 with weight 0.9: 90; initial weight 0.8 takes 10 more from free margin."""
    record = {
        **BTC,
        "weight_tiers": [{"floor": "0", "weight": "0.9"}],
        "initial_weight_tiers": [{"floor": "0", "weight": "0.8"}],
    }
    valuation = assess(holdings({"BTC": "2"}), market(marks={"BTC-USDT": "50"}, collateral=(record,)))
    assert (valuation.equity, valuation.initial_margin, valuation.maintenance_margin) == (90, 10, 0)


def test_a_debt_requires_its_rate() -> None:
    """-2 BTC at 50: equity 1,000 - 100, requirement 3 % of 100."""
    record = {**BTC, "liability_maintenance_rate": "0.03"}
    valuation = assess(holdings({"USDT": "1000", "BTC": "-2"}), market(marks={"BTC-USDT": "50"}, collateral=(record,)))
    assert (valuation.equity, valuation.initial_margin, valuation.maintenance_margin) == (900, 3, 3)


def test_netting_is_per_asset_before_the_weight() -> None:
    """1 BTC, and an inverse loss of 0.4 BTC: 0.6 at weight 0.5 and price 100 is 30 (not 50 - 40)."""
    inverse = spec(contract="inverse", settlement_asset="BTC")
    record = {**BTC, "weight_tiers": [{"floor": "0", "weight": "0.5"}]}
    bucket = holdings({"BTC": "1.6"}, position("P", "100"))  # value -100/100 = -1
    valuation = assess(bucket, market(inverse, marks={"P": "100", "BTC-USDT": "100"}, collateral=(record,)))
    assert (valuation.equity, valuation.maintenance_margin) == (30, 1)  # MM 1 % of 1 BTC at 100, without weight


def test_a_price_floor_holds_the_price_up() -> None:
    record = {**BTC, "price_floor": "60"}
    assert assess(holdings({"BTC": "2"}), market(marks={"BTC-USDT": "50"}, collateral=(record,))).equity == 120


def test_an_unrecorded_asset_counts_nothing_and_cannot_be_owed() -> None:
    at = market(spec("X", settlement_asset="XYZ"), marks={"X": "1"})
    assert assess(holdings({"USDT": "5", "XYZ": "1000"}), at).equity == 5
    with pytest.raises(Incomplete, match="XYZ"):
        assess(holdings({"USDT": "5", "XYZ": "-1"}), at)
    with pytest.raises(Incomplete, match="XYZ"):
        assess(holdings({"USDT": "5", "XYZ": "1000"}, position("X", "1")), at)


def test_a_missing_mark_makes_the_bucket_incomplete() -> None:
    with pytest.raises(Incomplete, match="price of P"):
        assess(holdings({"USDT": "5"}, position("P", "1")), market(spec(), marks={}))


def test_a_coin_settled_option_requires_coin() -> None:
    """Short 2 calls, S 100, K 110: OTM 10/S = 0.1; IM max(0.15 - 0.1, 0.1) = 0.1 a contract, MM 0.075; premium 0.02 each."""
    rates = {"short_initial_rate": "0.15", "short_minimum_rate": "0.1", "short_maintenance_rate": "0.075"}
    option = spec(
        "O", kind="option", contract="inverse", settlement_asset="BTC", strike="110", option_type="call", expiry_ms=1,
        option_margin=rates, spot_instrument="S",
    )  # fmt: skip
    valuation = assess(
        holdings({"BTC": "1"}, position("O", "-2")), market(option, marks={"O": "0.02", "S": "100"}, asset="BTC")
    )
    numbers = (valuation.equity, valuation.initial_margin, valuation.maintenance_margin)
    assert numbers == (Fraction("0.96"), Fraction("0.2"), Fraction("0.15"))


def test_a_long_option_requires_nothing() -> None:
    option = spec("O", kind="option", strike="110", option_type="put", expiry_ms=1)
    valuation = assess(holdings({"USDT": "1"}, position("O", "3")), market(option, marks={"O": "2"}))
    assert (valuation.equity, valuation.initial_margin, valuation.maintenance_margin) == (7, 0, 0)
