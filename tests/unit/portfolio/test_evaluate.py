"""Margin of buckets, rule by rule: contingencies, haircuts, settlement window, worst scenario, rounding, greeks."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest

from services.engine.portfolio import (
    Bucket,
    Expiry,
    HedgingCollateral,
    OptionLeg,
    Perpetual,
    PortfolioResult,
    Preset,
    Underlying,
    evaluate,
    evaluate_many,
    scenario_pnl,
)
from tests.unit.portfolio import oracle
from tests.unit.portfolio.books import call, put
from tests.unit.portfolio.presets import SHIPPED, body, parse, preset, with_scenarios

ONE = 10**18
QUANTUM = ONE // 10**8
SPOT = 1e5
DAY = 86400.0


def expiry(*legs: OptionLeg, seconds: float = 30 * DAY, forward: float = SPOT, rate: float = 0.0) -> Expiry:
    return Expiry(seconds_to_expiry=seconds, forward=forward, rate=rate, legs=legs)


def underlying(*expiries: Expiry, perpetual: float = 0.0, name: str = "BTC", spot: float = SPOT) -> Underlying:
    perpetuals = [Perpetual(amount=perpetual, mark=spot)] if perpetual else []
    return Underlying(name=name, spot=spot, perpetuals=perpetuals, expiries=expiries)


def collateral(value: float, weight: float = 1.0, initial_weight: float | None = None) -> HedgingCollateral:
    return HedgingCollateral(
        value=value, weight=weight, initial_weight=weight if initial_weight is None else initial_weight
    )


def money(value: float | str) -> int:
    return int(Fraction(value) * ONE)


def no_loss() -> Preset:
    """Scenarios and basis never lose anything: what remains are haircuts and contingencies."""
    return with_scenarios(("1", "Up", "0"), name="span-like")


# Cash and delta-one positions: exact by hand.


def test_cash_alone_needs_no_margin() -> None:
    result = evaluate(preset(), 1234.5, [])
    assert result == PortfolioResult(
        equity=money("1234.5"),
        initial_margin=0,
        maintenance_margin=0,
        maintenance_excess=money("1234.5"),
        initial_excess=money("1234.5"),
        worst_scenario=None,
        greeks={},
    )


def test_a_perpetual_alone() -> None:
    """Two long at 100,000: worst is -18 %, times 0.8; contingency 1.5 %, and 0.5 % more for initial margin."""
    result = evaluate(preset(), 50_000.0, [underlying(perpetual=2.0)])
    assert result.equity == money(50_000)
    assert result.worst_scenario == "0.82:up"
    assert result.maintenance_margin == pytest.approx(money(0.18 * 200_000 * 0.8 + 0.015 * 200_000), abs=2 * QUANTUM)
    assert result.initial_margin == pytest.approx(money(0.18 * 200_000 + 0.02 * 200_000), abs=2 * QUANTUM)


def test_a_short_perpetual_loses_when_the_price_rises() -> None:
    assert evaluate(preset(), 50_000.0, [underlying(perpetual=-2.0)]).worst_scenario == "1.18:up"


def test_a_future_against_a_perpetual_still_carries_both_contingencies() -> None:
    """Their prices move together in every scenario; that they may part is what the contingency is for."""
    pair = Underlying(
        name="BTC", spot=SPOT, perpetuals=[Perpetual(amount=1.0, mark=SPOT), Perpetual(amount=-1.0, mark=SPOT)]
    )
    result = evaluate(preset(), 0.0, [pair])
    assert result.worst_scenario is None
    assert result.maintenance_margin == pytest.approx(money(0.015 * 2 * SPOT), abs=QUANTUM)


def test_scenarios_use_the_mark_and_contingencies_the_spot_price() -> None:
    """Published case 61 of the manager: the mark of its perpetual is far from spot."""
    apart = Underlying(name="BTC", spot=SPOT, perpetuals=[Perpetual(amount=1.0, mark=2 * SPOT)])
    result = evaluate(preset(), 0.0, [apart])
    assert result.maintenance_margin == pytest.approx(money(0.18 * 2 * SPOT * 0.8 + 0.015 * SPOT), abs=2 * QUANTUM)


def test_hedging_collateral_offsets_a_short_perpetual() -> None:
    hedged = Underlying(
        name="BTC",
        spot=SPOT,
        perpetuals=[Perpetual(amount=-1.0, mark=SPOT)],
        collaterals=[collateral(SPOT, 0.9, 0.85)],
    )
    result = evaluate(preset(), 0.0, [hedged])
    assert result.worst_scenario is None
    assert result.equity == money(0.9 * SPOT)
    assert result.maintenance_excess == pytest.approx(money(0.9 * SPOT - 0.015 * SPOT), abs=QUANTUM)
    assert result.initial_excess == pytest.approx(money(0.85 * SPOT - 0.02 * SPOT), abs=QUANTUM)
    assert result.greeks["BTC"].delta == 0


def test_other_collateral_stands_still_and_has_its_haircuts() -> None:
    result = evaluate(preset(), 100.0, [], [collateral(1000.0, 0.75, 0.5)])
    assert result.equity == money(850)
    assert result.maintenance_margin == 0
    assert result.initial_excess == money(600)
    assert result.initial_margin == money(250)


def test_a_debt_counts_in_full() -> None:
    """A haircut on something owed would make the debt smaller."""
    result = evaluate(preset(), 1000.0, [], [collateral(-400.0, 0.5, 0.25)])
    assert (result.equity, result.maintenance_excess, result.initial_excess) == (money(600),) * 3


# Options.


def test_published_premiums_make_equity_and_the_model_makes_scenarios() -> None:
    """A mark other than the model's moves equity by the difference and leaves the requirement as it was."""
    plain = evaluate(preset(), 0.0, [underlying(expiry(call(SPOT, 2.0)))])
    marked = evaluate(preset(), 0.0, [underlying(expiry(call(SPOT, 2.0, mark=7000.0)))])
    model = oracle.black76(is_call=True, forward=SPOT, strike=SPOT, volatility=0.6, years=30 / 365, discount=1.0)
    assert plain.equity / ONE == pytest.approx(2 * model, abs=2e-8)
    assert marked.equity == money(14_000)
    assert marked.maintenance_margin == pytest.approx(plain.maintenance_margin, abs=2 * QUANTUM)


@pytest.mark.parametrize(
    ("legs", "naked"),
    [
        ([(call, -2.0)], 2.0),
        ([(call, 2.0)], 0.0),
        ([(call, -2.0), (put, -3.0)], 5.0),
        ([(call, -2.0), (put, 0.5)], 1.5),
        ([(put, -2.0), (call, 5.0)], 0.0),
        ([(call, 2.0), (put, 3.0)], 0.0),
        ([(call, -2.0), (call, 2.0)], 0.0),  # two records of one instrument
    ],
)
def test_naked_shorts_of_a_strike(legs: list[tuple[Callable[..., OptionLeg], float]], naked: float) -> None:
    """Two shorts add up; a long takes away from the short of the other type; 1 % of spot each."""
    options = underlying(expiry(*(kind(SPOT, amount, mark=0.0) for kind, amount in legs)))
    result = evaluate(no_loss(), 0.0, [options])
    assert result.maintenance_margin - option_loss(no_loss(), options) == pytest.approx(
        money(naked * 0.01 * SPOT), abs=QUANTUM
    )
    assert oracle.naked_shorts(options.expiries[0]) == naked


def option_loss(chosen: Preset, options: Underlying) -> int:
    return -money(min(0.0, *scenario_pnl(chosen, options).values()))


def test_a_long_of_another_strike_or_expiry_covers_nothing() -> None:
    apart = underlying(
        expiry(call(SPOT, -1.0, mark=0.0), call(1.1 * SPOT, 1.0, mark=0.0)),
        expiry(put(SPOT, 1.0, mark=0.0), seconds=60 * DAY),
    )
    assert evaluate(no_loss(), 0.0, [apart]).maintenance_margin == money(0.01 * SPOT)


def test_every_expiry_takes_the_losing_side_of_a_skew() -> None:
    """Two expiries that would net in a tilt of the smile both lose."""
    chosen = with_scenarios(("1", "Linear", "1"))
    one = underlying(expiry(call(1.5 * SPOT, 10.0)))
    other = underlying(expiry(call(1.5 * SPOT, -10.0), seconds=31 * DAY))
    both = underlying(*one.expiries, *other.expiries)
    pnl = [scenario_pnl(chosen, item)["linear"] for item in (one, other, both)]
    assert pnl[0] < 0
    assert pnl[1] < 0
    assert pnl[2] == pytest.approx(pnl[0] + pnl[1], rel=1e-12)


def test_basis_is_one_more_scenario_and_does_not_net_expiries() -> None:
    """A calendar spread has no loss when all prices move alike; basis asks what if they do not."""
    chosen = with_scenarios(("1", "None", "0"))
    calendar = underlying(expiry(call(1.0, 1.0)), expiry(call(1.0, -1.0), seconds=365 * DAY))
    result = evaluate(chosen, 0.0, [calendar])
    assert result.worst_scenario == "basis"
    expected = 0.045 * SPOT * (0.5 + 2 * 30 / 365) + 0.045 * SPOT * 2.5
    assert -scenario_pnl(chosen, calendar)["basis"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("seconds", "moving"), [(3600.0, 1.0), (1800.0, 1.0), (900.0, 0.5), (1.0, 1 / 1800), (0.0, 0.0), (-5.0, 0.0)]
)
def test_in_the_settlement_window_only_a_part_of_the_forward_moves(seconds: float, moving: float) -> None:
    """A deep call is worth the forward: a shock of 10 % moves it by 10 % of the part that is not fixed yet."""
    chosen = with_scenarios(("1.1", "None", "1"), name="span-like")
    options = underlying(expiry(call(1.0, 1.0), seconds=seconds))
    assert scenario_pnl(chosen, options)["1.1:none"] == pytest.approx(0.1 * SPOT * moving, abs=1e-7)
    greeks = evaluate(chosen, 0.0, [options]).greeks["BTC"]
    assert greeks.delta / ONE == pytest.approx(moving, abs=1e-9)


def test_half_way_through_the_window_delta_halves_and_gamma_quarters() -> None:
    """Half of the forward follows the price, so the option bends a quarter as much; vega and theta stay."""
    options = underlying(expiry(call(SPOT, 1.0), seconds=900.0))
    inside = evaluate(preset(), 0.0, [options]).greeks["BTC"]
    outside = evaluate(parse({**body(), "settlement_window_s": "0"}), 0.0, [options]).greeks["BTC"]
    assert 2 * inside.delta == pytest.approx(outside.delta, rel=1e-9)
    assert 4 * inside.gamma == pytest.approx(outside.gamma, rel=1e-6)
    assert (inside.vega, inside.theta) == (outside.vega, outside.theta)


def test_without_a_window_everything_moves_to_the_end() -> None:
    chosen = parse({**body("span-like"), "settlement_window_s": "0"})
    assert scenario_pnl(chosen, underlying(expiry(call(1.0, 1.0), seconds=0.0)))["1.15:up"] == pytest.approx(
        0.15 * SPOT
    )


def test_negative_rates_count_as_zero() -> None:
    legs = [call(SPOT, -1.0), put(0.9 * SPOT, 2.0)]
    below = evaluate(preset(), 0.0, [underlying(expiry(*legs, rate=-1.2))])
    zero = evaluate(preset(), 0.0, [underlying(expiry(*legs, rate=0.0))])
    assert below == zero


def test_an_expiry_without_options_changes_nothing() -> None:
    with_empty = underlying(expiry(), expiry(call(SPOT, -1.0)), expiry(seconds=5.0))
    assert evaluate(preset(), 0.0, [with_empty]) == evaluate(preset(), 0.0, [underlying(expiry(call(SPOT, -1.0)))])


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("seconds", [0.0, 1.0, 1799.0, DAY, 400 * DAY])
@pytest.mark.parametrize("volatility", [0.0, 1e-9, 0.6, 3000.0])
@pytest.mark.parametrize("forward", [1e-9, 1.0, SPOT, 1e9])
@pytest.mark.parametrize("ratio", [1e-6, 1.0, 1e6])
def test_extremes_stay_finite(name: str, seconds: float, volatility: float, forward: float, ratio: float) -> None:
    """No time, no volatility, dust and absurd prices: every figure exists and the requirement is not negative."""
    strike = forward * ratio
    options = underlying(
        expiry(
            call(strike, -2.0, volatility), put(strike, 1.0, volatility),
            seconds=seconds, forward=forward, rate=3.0,
        ),
        spot=forward,
    )  # fmt: skip
    result = evaluate(preset(name), 0.0, [options])
    assert result.maintenance_margin >= 0
    assert all(math.isfinite(value) for value in scenario_pnl(preset(name), options).values())


@pytest.mark.parametrize(
    "wrong",
    [
        underlying(spot=0.0),
        underlying(spot=math.nan),
        underlying(expiry(call(1.0, 1.0), forward=0.0)),
        underlying(expiry(call(1.0, 1.0), forward=math.inf)),
        underlying(expiry(call(-1.0, 1.0))),
        underlying(expiry(call(1.0, math.nan))),
        underlying(expiry(call(1.0, 1.0, volatility=-0.1))),
    ],
)
def test_prices_that_cannot_be_are_refused_before_they_are_used(wrong: Underlying) -> None:
    with pytest.raises(AssertionError):
        evaluate(preset(), 0.0, [wrong])


# Several underlyings, names of scenarios, rounding.


def test_underlyings_do_not_net() -> None:
    """Each has its own worst scenario; the bucket's is named after the one that loses most."""
    btc = underlying(perpetual=1.0)
    eth = underlying(perpetual=-10.0, name="ETH", spot=4000.0)
    result = evaluate(preset(), 0.0, [btc, eth])
    alone = [evaluate(preset(), 0.0, [item]) for item in (btc, eth)]
    assert result.maintenance_margin == sum(item.maintenance_margin for item in alone)
    assert result.worst_scenario == "BTC/0.82:up"
    assert evaluate(preset(), 0.0, [eth, btc]).worst_scenario == "BTC/0.82:up"
    assert set(result.greeks) == {"BTC", "ETH"}
    assert result.greeks["ETH"] == alone[1].greeks["ETH"]


def test_equal_losses_are_named_after_the_first() -> None:
    """Volatility does nothing to a perpetual: up, none and down lose the same."""
    chosen = with_scenarios(("0.9", "Down", "1"), ("0.9", "Up", "1"), ("1.1", "Up", "1"))
    assert evaluate(chosen, 0.0, [underlying(perpetual=1.0)]).worst_scenario == "0.9:down"


def test_a_loss_below_the_quantum_is_none() -> None:
    assert evaluate(preset(), 0.0, [underlying(perpetual=1e-15)]).worst_scenario is None


@pytest.mark.parametrize("cash", [0.1, -0.1, 1e-9, -1e-9, 123456789.123456789, -987654321.987654321, 1e15 + 0.3])
def test_amounts_round_down_to_1e_8(cash: float) -> None:
    """Equity and excess not above the exact value by more than double precision loses, and on the grid."""
    result = evaluate(preset(), cash, [])
    exact, noise = Fraction(cash) * ONE, max(Fraction(abs(cash)) * ONE / 2**50, 10**8)
    for amount in (result.equity, result.maintenance_excess, result.initial_excess):
        assert amount % QUANTUM == 0
        assert -noise <= exact - amount < QUANTUM


@pytest.mark.parametrize("cash", [0.1, 1.1, 100.7, 22_260.13, 1e6 + 0.01, -0.3, -10_000.0])
def test_amounts_on_the_grid_stay_where_they_are(cash: float) -> None:
    """Neither the binary form of a decimal nor the noise of a sum costs the account a quantum."""
    third = HedgingCollateral(value=cash / 3, weight=1.0, initial_weight=1.0)
    result = evaluate(preset(), 0.0, [], [third, third, third])
    assert result.equity == result.maintenance_excess == money(repr(cash))


def test_margin_of_round_numbers_is_round() -> None:
    result = evaluate(
        preset(), 1000.0, [underlying(perpetual=1.0), underlying(perpetual=-10.0, name="ETH", spot=4000.0)]
    )
    assert result.maintenance_margin == money(22_260)
    assert result.initial_margin == money(28_000)


def test_a_requirement_is_equity_less_excess() -> None:
    result = evaluate(preset(), 12345.678901234, [underlying(expiry(call(SPOT, -1.3)), perpetual=0.7)])
    assert result.maintenance_margin == result.equity - result.maintenance_excess
    assert result.initial_margin == result.equity - result.initial_excess
    assert result.initial_margin > result.maintenance_margin > 0


def test_a_bucket_has_the_same_result_alone_and_in_any_batch() -> None:
    kinds = (call, put)
    buckets = [
        Bucket(
            cash=1000.0 * n,
            underlyings=[
                underlying(
                    expiry(*(kinds[n % 2](9e4 + 997.0 * i, 1.1 - i, 0.3 + 0.01 * i) for i in range(n % 23 + 1))),
                    perpetual=0.1 * n,
                )
            ],
        )
        for n in range(60)
    ]
    alone = [evaluate(preset(), item.cash, item.underlyings) for item in buckets]
    assert evaluate_many(preset(), buckets) == alone
    assert evaluate_many(preset(), buckets[::-1]) == alone[::-1]
    assert evaluate_many(preset(), []) == []


# Greeks of a whole underlying.


def test_net_greeks_are_the_finite_differences_of_the_value() -> None:
    """All prices move by the same amount; volatilities by the same amount; one day passes."""
    half = HedgingCollateral(value=0.5 * SPOT, weight=0.9, initial_weight=0.9)
    legs = [call(1.1 * SPOT, -3.0), put(0.9 * SPOT, 2.0), call(SPOT, 5.0)]

    def value(price: float = 0.0, volatility: float = 0.0, days: float = 0.0) -> float:
        years = (30 - days) / 365
        options = (
            leg.amount
            * oracle.black76(
                is_call=leg.is_call,
                forward=1.01 * SPOT + price,
                strike=leg.strike,
                volatility=leg.volatility + volatility,
                years=years,
                discount=math.exp(-0.05 * years),
            )
            for leg in legs
        )
        return (-2.0 + 0.5) * (SPOT + price) + sum(options)

    item = Underlying(
        name="BTC",
        spot=SPOT,
        perpetuals=[Perpetual(amount=-2.0, mark=SPOT)],
        expiries=[expiry(*legs, forward=1.01 * SPOT, rate=0.05)],
        collaterals=[half],
    )
    greeks = evaluate(preset(), 0.0, [item]).greeks["BTC"]
    assert greeks.delta / ONE == pytest.approx((value(price=1.0) - value(price=-1.0)) / 2, abs=1e-6)
    assert greeks.gamma / ONE == pytest.approx((value(price=50.0) - 2 * value() + value(price=-50.0)) / 2500, abs=1e-9)
    assert greeks.vega / ONE == pytest.approx((value(volatility=1e-4) - value(volatility=-1e-4)) / 2e-4, rel=1e-6)
    assert greeks.theta / ONE == pytest.approx((value(days=1e-3) - value(days=-1e-3)) / 2e-3, rel=1e-6)
