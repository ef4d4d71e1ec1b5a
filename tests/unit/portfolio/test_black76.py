"""Black-76 and the functions under it, against scipy and against the laws that any pricer obeys."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from services.engine.portfolio import black76
from services.engine.portfolio.elementary import EXP_LIMIT, Floats, exp, log, normal

CALL, PUT = 1.0, -1.0

signs = st.sampled_from([CALL, PUT])
prices = st.floats(1e-9, 1e9)
volatilities = st.one_of(st.just(0.0), st.floats(1e-6, 20.0))
years = st.one_of(st.just(0.0), st.floats(1e-9, 10.0))


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def normal_cdf(x: Floats) -> Floats:
    return normal(x)[0]


def normal_pdf(x: Floats) -> Floats:
    return normal(x)[1]


def price(sign: float, forward: float, strike: float, volatility: float, tau: float) -> float:
    k = log(array(strike / forward))
    return float(black76.price(array(sign), k, array(volatility * math.sqrt(tau)), array(forward), array(strike))[0])


def scipy_price(sign: float, forward: float, strike: float, volatility: float, tau: float) -> float:
    spread = volatility * math.sqrt(tau)
    d1 = math.log(forward / strike) / spread + spread / 2
    if sign == CALL:
        return float(forward * ndtr(d1) - strike * ndtr(d1 - spread))
    return float(strike * ndtr(spread - d1) - forward * ndtr(-d1))


def test_normal_cdf_is_within_one_part_in_1e15() -> None:
    x = np.linspace(-45.0, 45.0, 400_001)
    assert np.abs(normal_cdf(x) - ndtr(x)).max() < 1e-15


def test_normal_cdf_of_opposite_numbers_adds_up_to_one() -> None:
    x = np.linspace(0.0, 40.0, 10_001)
    assert (normal_cdf(x) + normal_cdf(-x) == 1.0).all()
    assert (normal_cdf(array(0.0, -0.0)) == 0.5).all()


def test_normal_pdf_is_the_derivative_of_the_cdf() -> None:
    x = np.linspace(-6.0, 6.0, 1_001)
    assert np.abs((ndtr(x + 1e-5) - ndtr(x - 1e-5)) / 2e-5 - normal_pdf(x)).max() < 1e-9


def test_exp_is_within_two_units_in_the_last_place() -> None:
    x = np.linspace(-EXP_LIMIT, EXP_LIMIT, 200_003)
    assert np.abs(exp(x) / np.exp(x) - 1.0).max() < 4.5e-16
    assert exp(array(0.0))[0] == 1.0


def test_exp_stays_finite_and_positive_beyond_its_limit() -> None:
    low, high = exp(array(-1e300, 1e300))
    assert 0.0 < low < 1e-300
    assert 1e300 < high < math.inf


def test_log_is_within_three_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(0.5, 2.0, 100_001), 10.0 ** np.linspace(-300, 300, 50_001), [5e-324]])
    reference = np.log(x)
    assert np.abs(log(x) - reference).max() <= 2.5e-13  # at |log| near 700 one unit is 1.1e-13
    near = np.abs(reference) < 1.0
    assert np.abs((log(x) - reference)[near] / np.where(reference == 0.0, 1.0, reference)[near]).max() < 7e-16
    assert log(array(1.0))[0] == 0.0


def test_a_value_does_not_depend_on_where_it_stands_in_an_array() -> None:
    """Batches of any size give the same bits: no fast path for blocks, no other one for their rest."""
    x = np.linspace(-9.0, 9.0, 1_003)
    for function in (exp, normal_cdf, normal_pdf):
        alone = np.array([function(x[i : i + 1])[0] for i in range(len(x))])
        assert (function(x) == alone).all()
    positive = np.abs(x) + 1e-3
    assert (log(positive) == np.array([log(positive[i : i + 1])[0] for i in range(len(x))])).all()


@pytest.mark.parametrize("sign", [CALL, PUT])
@pytest.mark.parametrize("forward", [1e-6, 1.0, 2_681.6, 1e5, 1e7])
@pytest.mark.parametrize("ratio", [1e-4, 0.5, 0.97, 1.0, 1.03, 2.0, 1e4])
@pytest.mark.parametrize("volatility", [0.01, 0.6, 3.0, 2_500.0])
@pytest.mark.parametrize("tau", [1e-7, 0.02, 1.0, 5.0])
def test_price_is_that_of_scipy(sign: float, forward: float, ratio: float, volatility: float, tau: float) -> None:
    ours = price(sign, forward, forward * ratio, volatility, tau)
    theirs = max(scipy_price(sign, forward, forward * ratio, volatility, tau), 0.0)
    assert ours == pytest.approx(theirs, rel=0, abs=4e-15 * forward * (1 + ratio))


@given(sign=signs, forward=prices, strike=prices, volatility=volatilities, tau=years)
def test_price_is_finite_and_between_its_bounds(
    sign: float, forward: float, strike: float, volatility: float, tau: float
) -> None:
    premium = price(sign, forward, strike, volatility, tau)
    intrinsic = max(forward - strike if sign == CALL else strike - forward, 0.0)
    most = forward if sign == CALL else strike
    slack = 1e-14 * (forward + strike)
    assert math.isfinite(premium)
    assert intrinsic - slack <= premium <= most + slack


@given(forward=prices, strike=prices, volatility=volatilities, tau=years)
def test_put_call_parity(forward: float, strike: float, volatility: float, tau: float) -> None:
    """A call less a put is the forward less the strike."""
    difference = price(CALL, forward, strike, volatility, tau) - price(PUT, forward, strike, volatility, tau)
    assert difference == pytest.approx(forward - strike, rel=0, abs=1e-14 * (forward + strike))


@given(
    sign=signs,
    forward=prices,
    strike=prices,
    volatility=st.floats(0.01, 3),
    more=st.floats(0.01, 3),
    tau=years,
)
def test_price_rises_with_volatility(
    *, sign: float, forward: float, strike: float, volatility: float, more: float, tau: float
) -> None:
    low = price(sign, forward, strike, volatility, tau)
    assert price(sign, forward, strike, volatility + more, tau) >= low - 1e-14 * (forward + strike)


@pytest.mark.parametrize(("volatility", "tau"), [(0.0, 1.0), (0.6, 0.0), (0.0, 0.0)])
def test_without_time_or_volatility_an_option_is_worth_its_exercise(volatility: float, tau: float) -> None:
    assert price(CALL, 110.0, 100.0, volatility, tau) == 10.0
    assert price(PUT, 110.0, 100.0, volatility, tau) == 0.0
    assert price(PUT, 90.0, 100.0, volatility, tau) == 10.0
    assert price(CALL, 100.0, 100.0, volatility, tau) == 0.0


@pytest.mark.parametrize("sign", [CALL, PUT])
@pytest.mark.parametrize("strike", [60.0, 100.0, 150.0])
@pytest.mark.parametrize("rate", [0.0, 0.15])
def test_greeks_are_the_finite_differences_of_the_price(sign: float, strike: float, rate: float) -> None:
    forward, volatility, tau, day = 100.0, 0.7, 0.4, 1 / 365

    def value(f: float = forward, v: float = volatility, t: float = tau) -> float:
        return scipy_price(sign, f, strike, v, t) * math.exp(-rate * t)

    greeks = black76.greeks(
        sign=array(sign),
        volatility=array(volatility),
        years=array(tau),
        forward=array(forward),
        log_moneyness=array(math.log(strike / forward)),
        rate=array(rate),
        discount=array(math.exp(-rate * tau)),
        premium=array(value()),
    )
    step = 1e-3
    assert greeks.delta[0] == pytest.approx((value(f=forward + step) - value(f=forward - step)) / (2 * step), abs=1e-8)
    bend = (value(f=forward + 0.01) - 2 * value() + value(f=forward - 0.01)) / 0.01**2
    assert greeks.gamma[0] == pytest.approx(bend, abs=1e-7)
    assert greeks.vega[0] == pytest.approx((value(v=volatility + 1e-5) - value(v=volatility - 1e-5)) / 2e-5, abs=1e-6)
    later, sooner = value(t=tau - day / 1000), value(t=tau + day / 1000)
    assert greeks.theta[0] == pytest.approx((later - sooner) * 500, abs=1e-7)
