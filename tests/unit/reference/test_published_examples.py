"""Worked examples that exchanges publish, reproduced to the digit that they print. Facts only; the source is named."""

from fractions import Fraction

import pytest

from services.reference.roots import assess, bankruptcy_price, fee_bases, liquidation_price, reported
from services.reference.specs import Spec
from services.reference.valuation import tiered
from tests.unit.reference.making import holdings, market, position, spec


def bybit_inverse(**fields: object) -> Spec:
    return spec(
        "BTCUSD",
        [("0", "0.005")],
        contract="inverse",
        settlement_asset="BTC",
        maintenance_basis="entry",
        tick_size="0.5",
        **fields,
    )


def test_bybit_inverse_cross_long() -> None:
    """Bybit help, "How to calculate Liquidation Price (Inverse Contract)", cross margin: 0.5 BTC, long 10,000 at 8,000 USD,
    maintenance 0.5 % of the entry value, taker 0.075 % at the bankruptcy price. Published: bankruptcy 5,718.57, liquidation
    5,739.50. Ours: 10,000·1.00075/(1.25 + 0.5) = 5,718.5714; and 10,000/(1.75 - 0.00625 - 7.5/5,718.5714) = 5,739.08, which
    the tick of 0.5 lifts to 5,739.5."""
    inverse = bybit_inverse(taker_fee_rate="0.00075", liquidation_fee_rate="0.00075", close_fee_basis="bankruptcy")
    held = position("BTCUSD", "10000", cost="1.25")
    bucket, at = holdings({"BTC": "1.75"}, held), market(inverse, marks={"BTCUSD": "8000"}, asset="BTC")
    broke = bankruptcy_price(bucket, at, held)
    assert broke is not None
    assert round(broke, 2) == Fraction("5718.57")
    liquidation = liquidation_price(bucket, at, held, fee_bases(bucket, at))
    assert reported(liquidation, inverse, held) == Fraction("5739.5")


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("-60000", Fraction(60000) / Fraction("1.086")), ("60000", Fraction(60000) / Fraction("1.314"))],
)
def test_bybit_inverse_isolated(quantity: str, expected: Fraction) -> None:
    """Bybit help, "Liquidation Price Calculation under Isolated Mode (UTA)": 60,000 USD at 50,000 with 10x, rate 0.5 %:
    position value 1.2 BTC, IM 0.12, MM 0.006; short 60,000/[1.2 - (0.12 - 0.006)], long 60,000/[1.2 + (0.12 - 0.006)]."""
    held = position("BTCUSD", quantity, cost="1.2")
    cash = Fraction("0.12") + (Fraction("1.2") if held.quantity > 0 else -Fraction("1.2"))
    bucket = holdings({"BTC": str(cash)}, held)
    at = market(bybit_inverse(), marks={"BTCUSD": "50000"}, asset="BTC")
    assert liquidation_price(bucket, at, held, {}) == expected


def test_bybit_linear_isolated() -> None:
    """Bybit help, "Liquidation Price (USDT Contract)", example 1: long 1 BTC at 20,000 with 50x, rate 0.5 %: IM 400, MM 100,
    LP = 20,000 - (400 - 100) = 19,700."""
    linear = spec("BTCUSDT", [("0", "0.005")], maintenance_basis="entry")
    held = position("BTCUSDT", "1", cost="20000")
    bucket = holdings({"USDT": str(400 - 20000)}, held)
    assert liquidation_price(bucket, market(linear, marks={"BTCUSDT": "20000"}), held, {}) == 19_700


@pytest.mark.parametrize(
    ("notional", "requirement"),
    [("50000", "200"), ("250000", "1200"), ("1000000", "8700"), ("10000000", "233700"), ("20000000", "733700")],
)
def test_binance_brackets(notional: str, requirement: str) -> None:
    """Binance announcement of 2021-03-18, BTCUSDT: 0.4 % to 50,000, 0.5 % to 250,000, 1 % to 1,000,000, 2.5 % to 10,000,000,
    5 % to 20,000,000, each bound belonging to the bracket below. As a tax: 50,000·0.4 % = 200; + 200,000·0.5 % = 1,200;
    + 750,000·1 % = 8,700; + 9,000,000·2.5 % = 233,700; + 10,000,000·5 % = 733,700."""
    rates = [
        ("0", "0.004"),
        ("50000", "0.005"),
        ("250000", "0.01"),
        ("1000000", "0.025"),
        ("10000000", "0.05"),
        ("20000000", "0.1"),
    ]
    binance = spec(tiers=rates, tier_boundary="lower")
    assert tiered(binance.maintenance_tiers, "lower", Fraction(notional)) == Fraction(requirement)
    amounts = [tier.deduction for tier in binance.maintenance_tiers]
    assert amounts == [0, 50, 1_300, 16_300, 266_300, 1_266_300]


@pytest.mark.parametrize(
    ("option_type", "strike", "initial", "maintenance"),
    [
        ("call", "11000", "1000", "750"),
        ("call", "10200", "1300", "750"),
        ("put", "10000", "1500", "750"),
        ("put", "9800", "1300", "750"),
    ],
)
def test_standard_short_options(option_type: str, strike: str, initial: str, maintenance: str) -> None:
    """bit.com, "Margin rules for USD-margined options" (as Deribit's standard margin): max(0.15·S - OTM, 0.1·S) and 0.075·S,
    besides the premium, which is in the equity here. S = 10,000: 1,500 less 1,000 → at least 1,000; less 200 → 1,300."""
    rates = {
        "short_initial_rate": "0.15",
        "short_minimum_rate": "0.1",
        "short_maintenance_rate": "0.075",
        "put_mark_rate": "0.075",
    }
    option = spec("O", kind="option", strike=strike, option_type=option_type, expiry_ms=1, option_margin=rates)
    held = position("O", "-1")
    at = market(option, marks={"O": "400"}, indices={"O": Fraction(10_000)})
    valuation = assess(holdings({"USDT": "5000"}, held), at)
    assert (valuation.equity, valuation.initial_margin, valuation.maintenance_margin) == (
        4_600,
        Fraction(initial),
        Fraction(maintenance),
    )
