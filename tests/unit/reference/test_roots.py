"""Liquidation and bankruptcy prices: against closed forms worked by hand, and as roots of the valuation itself."""

from fractions import Fraction

import pytest

from services.reference.curves import Curve, Viewpoint, square_root
from services.reference.holdings import Holdings, Market, Position
from services.reference.roots import assess, bankruptcy_price, liquidation_price, reported
from tests.unit.reference.making import holdings, market, position, spec

TIERS = [("0", "0.01"), ("100", "0.02")]
BTC = {"asset": "BTC", "price_instrument": "P"}


def excess_at(bucket: Holdings, at: Market, price: Fraction) -> Fraction:
    value = assess(bucket, at.with_mark("P", price)).excess
    assert isinstance(value, Fraction)
    return value


def test_long_in_the_first_tier() -> None:
    """W 20, long 1 at 100: p = (20 + 0 - 100)/(0.01 - 1) = 80.808...; broke at 80."""
    held = position("P", "1", "100")
    bucket, at = holdings({"USDT": "-80"}, held), market(spec(tiers=TIERS), marks={"P": "99"})
    assert liquidation_price(bucket, at, held, {}) == Fraction(8000, 99)
    assert bankruptcy_price(bucket, at, held) == 80


def test_short_reaches_the_second_tier() -> None:
    """W 20, short 1 at 99: tier 2 holds the root, c = 1: p = (20 + 1 + 99)/(0.02 + 1) = 117.647...; broke at 119."""
    held = position("P", "-1", "99")
    bucket, at = holdings({"USDT": "119"}, held), market(spec(tiers=TIERS), marks={"P": "99"})
    assert liquidation_price(bucket, at, held, {}) == Fraction(120) / Fraction("1.02")
    assert bankruptcy_price(bucket, at, held) == 119


@pytest.mark.parametrize(("quantity", "expected"), [("-0.0000001", 10_000_100), ("-0.00000001", None)])
def test_a_price_a_million_times_the_mark_is_none(quantity: str, expected: int | None) -> None:
    """W 1, short so little at 100 that it is broke at 100 + 1/q: beyond 10^8 nobody trades."""
    held = position("P", quantity, "0.00001" if expected else "0.000001")
    cash = "1.00001" if expected else "1.000001"
    bucket, at = holdings({"USDT": cash}, held), market(spec(tiers=TIERS), marks={"P": "100"})
    assert bankruptcy_price(bucket, at, held) == expected


def test_the_taker_fee_moves_the_bankruptcy_price_only() -> None:
    """p(1 - 0.1 %) = 80."""
    held = position("P", "1", "100")
    bucket, at = holdings({"USDT": "-80"}, held), market(spec(taker_fee_rate="0.001"), marks={"P": "99"})
    assert bankruptcy_price(bucket, at, held) == Fraction(80) / Fraction("0.999")
    assert liquidation_price(bucket, at, held, {}) == Fraction(8000, 99)


def test_inverse_long_and_short() -> None:
    """1,000 USD at 100, W 2 coin, m 1 %: long p = 1,000·1.01/(2 + 10), short p = 1,000·(1 - 0.01)/(10 - 2)."""
    at = market(spec(contract="inverse", settlement_asset="BTC"), marks={"P": "100"}, asset="BTC")
    long, short = position("P", "1000", "10"), position("P", "-1000", "10")
    assert liquidation_price(holdings({"BTC": "12"}, long), at, long, {}) == Fraction(1010, 12)
    assert liquidation_price(holdings({"BTC": "-8"}, short), at, short, {}) == Fraction(990, 8)


def test_a_fully_paid_position_has_no_liquidation_price() -> None:
    """Long 1 paid in full with 1 to spare: 1 + p = 0.01·p has no positive root. A short in coin with the coin held likewise."""
    held = position("P", "1", "100")
    assert liquidation_price(holdings({"USDT": "1"}, held), market(spec(), marks={"P": "99"}), held, {}) is None


def test_the_losing_side_is_searched_first_and_the_nearest_root_counts() -> None:
    """Weighted coin beside a coin short: coin collateral 3 at weight 1 priced by P itself, short 1 linear, cash -50.
    Below 3·p - p - 50 > 0 from p > 25 (MM 0.01·p): the only root is where the short wins."""
    held = position("P", "-1")
    bucket, at = holdings({"USDT": "-50", "BTC": "3"}, held), market(spec(), marks={"P": "99"}, collateral=(BTC,))
    assert liquidation_price(bucket, at, held, {}) == Fraction(50) / Fraction("1.99")


def test_both_legs_of_a_hedge_move_with_the_mark() -> None:
    """Long 2, short 1: net long 1, both legs required: E = -150 + p, MM = 0.03·p → p = 150/0.97 on either leg."""
    long, short = position("P", "2", side="long"), position("P", "-1", side="short")
    bucket, at = holdings({"USDT": "-150"}, long, short), market(spec(), marks={"P": "200"})
    expected = Fraction(150) / Fraction("0.97")
    assert liquidation_price(bucket, at, long, {}) == expected
    assert liquidation_price(bucket, at, short, {}) == expected


def test_a_quadratic_root_is_found_on_the_grid() -> None:
    """Linear in BTC, which P itself prices: (1 - 2 + 0.01·p)·p..., value 0.01·p coin: E = (-1 + 0.01·p)·p, negative net in full.
    MM = 1 %·0.01·p·p: (-1 + 0.01·p - 0.0001·p)·p = 0 → p = 1/0.0099 = 101.01..."""
    held = position("P", "0.01")
    bucket = holdings({"BTC": "-1"}, held)
    at = market(spec(settlement_asset="BTC"), marks={"P": "150"}, collateral=(BTC,))
    assert liquidation_price(bucket, at, held, {}) == Fraction(10000, 99)


def test_an_irrational_root_lies_between_neighbours_of_the_grid() -> None:
    """Inverse in BTC priced elsewhere, P prices 1 ETH of collateral: p - 50·100/p + 20 - 1 %·5,000/p = 0."""
    inverse = spec(contract="inverse", settlement_asset="BTC")
    records = ({"asset": "BTC", "price_instrument": "S"}, {"asset": "ETH", "price_instrument": "P"})
    held = position("P", "100")
    bucket = holdings({"USDT": "20", "ETH": "1"}, held)
    at = market(inverse, marks={"P": "100", "S": "50"}, collateral=records)
    root = reported(liquidation_price(bucket, at, held, {}), inverse, held)
    assert root is not None
    step = Fraction(1, 10**12)
    assert excess_at(bucket, at, root) >= 0 > excess_at(bucket, at, root - step)


def test_rounding_goes_toward_safety() -> None:
    long, short = position("P", "1"), position("P", "-1")
    tick = spec(tick_size="0.5")
    assert reported(Fraction("80.1"), tick, long) == Fraction("80.5")
    assert reported(Fraction("80.9"), tick, short) == Fraction("80.5")
    assert reported(Fraction(1, 3), spec(), long) == Fraction("0.333333333334")
    assert reported(Fraction("0.4"), tick, short) is None


def test_a_jump_across_zero_counts_as_the_root() -> None:
    """Own deduction 0 at 100 where 1 would be continuous: MM jumps from 1 to 2 at N = 100. Short 1 with equity 101.5 - p... at
    100: 1.5 is above 1 and below 2, so the bucket fails exactly where the tier begins."""
    listed = [
        {"notional_floor": "0", "maintenance_margin_rate": "0.01"},
        {"notional_floor": "100", "maintenance_margin_rate": "0.02", "maintenance_deduction": "0"},
    ]
    held = position("P", "-1")
    bucket, at = holdings({"USDT": "101.5"}, held), market(spec(margin_tiers=listed), marks={"P": "90"})
    assert liquidation_price(bucket, at, held, {}) == 100


@pytest.mark.parametrize("quantity", ["3", "-3", "0.7", "-0.7"])
@pytest.mark.parametrize("balance", ["-250", "-60", "40", "400"])
def test_every_root_is_one(quantity: str, balance: str) -> None:
    """Tiers, weights, a fee on the mark and a multiplier together: whatever price is found, equity meets the requirement there."""
    held = position("P", quantity)
    record = {"asset": "USDT", "weight_tiers": [{"floor": "0", "weight": "0.95"}, {"floor": "100", "weight": "0.5"}]}
    instrument = spec(tiers=[*TIERS, ("250", "0.1")], close_fee_basis="mark", liquidation_fee_rate="0.002")
    bucket = holdings({"USDT": balance}, held)
    at = market(instrument, marks={"P": "90"}, collateral=(record,), multipliers={"P": Fraction("1.3")})
    found = liquidation_price(bucket, at, held, {})
    assert found is None or excess_at(bucket, at, found) == 0
    losing = [Fraction(price) for price in (range(1, 90) if held.quantity > 0 else range(91, 400))]
    changes = any((excess_at(bucket, at, p) < 0) != (excess_at(bucket, at, Fraction(90)) < 0) for p in losing)
    assert found is not None or not changes


def test_curves_remember_what_was_compared() -> None:
    """max(p, 3) seen from 5 is p, until 3."""
    here = Viewpoint(Fraction(5), -1)
    price = Curve.price(here)
    assert max(price, Fraction(3)) is price
    assert [compared.roots() for compared in here.compared] == [[(Fraction(3), True)]]


def test_square_roots_say_whether_they_are_exact() -> None:
    assert square_root(Fraction(9, 4)) == (Fraction(3, 2), True)
    root, exact = square_root(Fraction(2))
    assert not exact
    assert root**2 < 2 < (root + Fraction(1, 10**79)) ** 2


def test_a_position_without_entry_basis_needs_no_cost() -> None:
    held = Position("P", "net", Fraction(1), Fraction(0))
    assert bankruptcy_price(holdings({"USDT": "-5"}, held), market(spec(), marks={"P": "9"}), held) == 5
