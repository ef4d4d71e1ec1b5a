"""Laws of the scenario model on generated buckets: agreement with the slow oracle, batching, scale, monotonicity."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.portfolio import (
    Bucket,
    Expiry,
    HedgingCollateral,
    OptionLeg,
    Perpetual,
    Preset,
    Underlying,
    evaluate,
    evaluate_many,
    scenario_pnl,
)
from tests.unit.portfolio import oracle
from tests.unit.portfolio.presets import SHIPPED, preset

ONE = 10**18
NOISE = 2e-14  # of the gross amounts in a sum: what double precision loses over a few dozen additions

amounts = st.one_of(st.integers(-20, 20).map(float), st.floats(-50.0, 50.0)).filter(lambda x: x == 0 or abs(x) > 1e-6)
volatilities = st.one_of(st.just(0.0), st.floats(0.01, 3.0), st.floats(100.0, 3000.0))
seconds = st.one_of(st.sampled_from([-10.0, 0.0, 1.0, 900.0, 1800.0, 86400.0, 2592000.0]), st.floats(1.0, 6e7))
weights = st.floats(0.0, 1.0)


@st.composite
def collaterals(draw: st.DrawFn) -> HedgingCollateral:
    weight = draw(weights)
    return HedgingCollateral(value=draw(st.floats(-1e5, 1e6)), weight=weight, initial_weight=weight * draw(weights))


@st.composite
def legs(draw: st.DrawFn, forward: float) -> OptionLeg:
    strike = forward * draw(st.one_of(st.sampled_from([0.5, 0.9, 1.0, 1.1, 2.0]), st.floats(0.05, 20.0)))
    return OptionLeg(
        instrument="any",
        is_call=draw(st.booleans()),
        strike=strike,
        amount=draw(amounts),
        volatility=draw(volatilities),
        mark=draw(st.none() | st.floats(0.0, 2.0).map(lambda part: part * forward)),
    )


@st.composite
def underlyings(draw: st.DrawFn, name: str) -> Underlying:
    spot = draw(st.sampled_from([1e-4, 1.0, 2681.6, 95663.5, 1e6]))
    expiries = []
    for _ in range(draw(st.integers(0, 3))):
        forward = spot * draw(st.floats(0.8, 1.3))
        expiries.append(
            Expiry(
                seconds_to_expiry=draw(seconds),
                forward=forward,
                rate=draw(st.floats(-0.5, 2.5)),
                legs=draw(st.lists(legs(forward), max_size=6)),
            )
        )
    return Underlying(
        name=name,
        spot=spot,
        perpetuals=[
            Perpetual(amount=draw(amounts), mark=spot * draw(st.floats(0.9, 1.1)))
            for _ in range(draw(st.integers(0, 2)))
        ],
        expiries=expiries,
        collaterals=draw(st.lists(collaterals(), max_size=2)),
    )


@st.composite
def buckets(draw: st.DrawFn) -> Bucket:
    names = draw(st.sampled_from([(), ("BTC",), ("BTC", "ETH"), ("BTC", "ETH", "SOL")]))
    return Bucket(
        cash=draw(st.floats(-1e7, 1e7)),
        underlyings=[draw(underlyings(name)) for name in names],
        other_collateral=draw(st.lists(collaterals(), max_size=2)),
    )


presets = st.sampled_from([preset(name) for name in SHIPPED])


@settings(max_examples=150, deadline=None)
@given(chosen=presets, bucket=buckets())
def test_margin_is_that_of_the_slow_oracle(chosen: Preset, bucket: Bucket) -> None:
    result = evaluate(chosen, bucket.cash, bucket.underlyings, bucket.other_collateral)
    slow = oracle.evaluate(chosen, bucket)
    slack = 1e-8 + NOISE * slow.scale
    assert result.equity / ONE == pytest.approx(slow.equity, rel=1e-15, abs=slack)
    assert result.maintenance_excess / ONE == pytest.approx(slow.maintenance_excess, rel=1e-15, abs=slack)
    assert result.initial_excess / ONE == pytest.approx(slow.initial_excess, rel=1e-15, abs=slack)


@settings(max_examples=100, deadline=None)
@given(chosen=presets, underlying=underlyings("BTC"))
def test_every_scenario_is_that_of_the_slow_oracle(chosen: Preset, underlying: Underlying) -> None:
    fast, slow = scenario_pnl(chosen, underlying), oracle.scenario_pnl(chosen, underlying)
    slack = 1e-9 + NOISE * (sum(map(abs, oracle.gross(underlying))) + sum(abs(c.value) for c in underlying.collaterals))
    assert fast.keys() == slow.keys()
    assert all(math.isclose(fast[name], slow[name], rel_tol=0, abs_tol=slack) for name in slow)


@settings(max_examples=60, deadline=None)
@given(chosen=presets, many=st.lists(buckets(), max_size=6))
def test_a_batch_gives_the_bits_of_its_parts(chosen: Preset, many: list[Bucket]) -> None:
    alone = [evaluate(chosen, item.cash, item.underlyings, item.other_collateral) for item in many]
    assert evaluate_many(chosen, many) == alone
    assert evaluate_many(chosen, [*many, *reversed(many)]) == [*alone, *reversed(alone)]


def scaled(item: Underlying, factor: float) -> Underlying:
    return replace(
        item,
        perpetuals=[replace(part, amount=part.amount * factor) for part in item.perpetuals],
        expiries=[
            replace(part, legs=[replace(leg, amount=leg.amount * factor) for leg in part.legs])
            for part in item.expiries
        ],
        collaterals=[replace(part, value=part.value * factor) for part in item.collaterals],
    )


@settings(max_examples=80, deadline=None)
@given(chosen=presets, underlying=underlyings("BTC"), power=st.integers(1, 5))
def test_margin_grows_with_size_in_proportion(chosen: Preset, underlying: Underlying, power: int) -> None:
    """Twice the position is twice the margin: exactly so in powers of two, up to the rounding of each."""
    one = evaluate(chosen, 0.0, [underlying])
    more = evaluate(chosen, 0.0, [scaled(underlying, 2.0**power)])
    quanta = 2 * 2**power * 10**10
    assert abs(more.maintenance_margin - one.maintenance_margin * 2**power) <= quanta
    assert abs(more.initial_margin - one.initial_margin * 2**power) <= quanta
    assert more.maintenance_margin >= one.maintenance_margin - 2 * 10**10


@settings(max_examples=80, deadline=None)
@given(chosen=presets, bucket=buckets(), more=st.floats(0.0, 1e6))
def test_cash_moves_equity_and_not_the_requirement(chosen: Preset, bucket: Bucket, more: float) -> None:
    poor = evaluate(chosen, bucket.cash, bucket.underlyings, bucket.other_collateral)
    rich = evaluate(chosen, bucket.cash + more, bucket.underlyings, bucket.other_collateral)
    slack = 2 * 10**10 + round(NOISE * oracle.evaluate(chosen, bucket).scale * ONE) + round(more * 1e-14 * ONE)
    assert rich.equity >= poor.equity
    assert abs(rich.maintenance_margin - poor.maintenance_margin) <= slack
    assert rich.worst_scenario == poor.worst_scenario


@settings(max_examples=80, deadline=None)
@given(chosen=presets, bucket=buckets())
def test_a_requirement_is_never_negative_and_initial_is_the_larger(chosen: Preset, bucket: Bucket) -> None:
    result = evaluate(chosen, bucket.cash, bucket.underlyings, bucket.other_collateral)
    assert 0 <= result.maintenance_margin <= result.initial_margin
    assert all(amount % 10**10 == 0 for amount in (result.equity, result.maintenance_excess, result.initial_excess))
    assert (result.worst_scenario is None) or result.worst_scenario.split("/")[-1] in {
        "basis",
        *(scenario.id for scenario in chosen.scenarios),
    }


@settings(max_examples=60, deadline=None)
@given(chosen=presets, underlying=underlyings("BTC"), other=underlyings("ETH"))
def test_joining_underlyings_adds_up(chosen: Preset, underlying: Underlying, other: Underlying) -> None:
    """No offset between underlyings: the margin of both is the sum of their margins."""
    both = evaluate(chosen, 0.0, [underlying, other])
    apart = [evaluate(chosen, 0.0, [item]) for item in (underlying, other)]
    scale = sum(oracle.evaluate(chosen, Bucket(cash=0.0, underlyings=[item])).scale for item in (underlying, other))
    slack = 4 * 10**10 + round(NOISE * scale * ONE)
    assert abs(both.maintenance_margin - sum(item.maintenance_margin for item in apart)) <= slack
    assert both.greeks == {**apart[0].greeks, **apart[1].greeks}
