"""The generated crash has the shape of 2025-10-10 for every seed, and is a function of the seed alone."""

import math
from itertools import pairwise

import pytest

from services.demo import SECONDS as LENGTH
from services.demo.crash_path import BREAK, CALMER, DURATION, LOW, MINUTE, SLIDE, book_share, crash_path, second_at
from services.demo.instruments import MARKET
from services.demo.rounds import INTERVAL_S

SEEDS = [0, 1, 2, 3, 7, 42, 20251010]
SECONDS = range(int(DURATION) + 1)
ALTCOINS = [listing.name for listing in MARKET if not listing.major]


def series(seed: int, name: str) -> list[float]:
    curve = crash_path(seed, MARKET).curves[name]
    return [curve.at(second) for second in SECONDS]


def drawdown(prices: list[float], within: int) -> float:
    """The largest fall from a high to a later price at most `within` seconds on."""
    return max(1 - min(prices[i : i + within + 1]) / price for i, price in enumerate(prices))


@pytest.mark.parametrize("seed", SEEDS)
def test_bitcoin_loses_an_eighth_within_half_an_hour(seed: int) -> None:
    prices = series(seed, "BTC-PERP")
    assert 0.115 <= drawdown(prices, 30 * 60) <= 0.135
    assert drawdown(prices, len(prices)) <= 0.14


@pytest.mark.parametrize("seed", SEEDS)
def test_bitcoin_loses_a_twentieth_in_its_worst_minute(seed: int) -> None:
    assert 0.045 <= drawdown(series(seed, "BTC-PERP"), 60) <= 0.06


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ALTCOINS)
def test_altcoins_break_within_minutes_and_win_most_of_it_back(seed: int, name: str) -> None:
    prices = series(seed, name)
    low = min(prices)
    at = prices.index(low)
    assert 0.55 <= 1 - low / prices[0] <= 0.82
    assert abs(at - LOW) <= 2 * MINUTE
    assert 1 - low / prices[at - 6 * 60] >= 0.45, "most of the fall takes minutes"
    won_back = (prices[-1] - low) / (prices[0] - low)
    assert len(prices) - at <= 60 * 60
    assert won_back >= 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_the_market_is_calm_before(seed: int) -> None:
    for listing in MARKET:
        assert drawdown(series(seed, listing.name)[: int(SLIDE)], int(SLIDE)) <= 0.02


def test_the_same_seed_gives_the_same_crash_and_another_seed_another() -> None:
    assert crash_path(5, MARKET) == crash_path(5, tuple(reversed(MARKET)))
    assert crash_path(5, MARKET) != crash_path(6, MARKET)


def test_at_the_speed_of_the_demo_no_step_jumps_a_margin() -> None:
    """At its default length: a step stays far below the 10 % that lie between an altcoin's two lines."""
    path, rounds = crash_path(1, MARKET), round(LENGTH / INTERVAL_S)
    moments = [path.prices(second_at(step / rounds)) for step in range(rounds + 1)]
    steps = [abs(math.log(after[name] / before[name])) for before, after in pairwise(moments) for name in before]
    assert max(steps) < 0.03


def test_the_book_is_thinnest_at_the_bottom() -> None:
    shares = [book_share(second) for second in SECONDS]
    assert min(shares) == book_share(LOW) <= 0.1
    assert book_share(0) == 1


def test_the_clock_runs_forward_and_slowest_in_the_break() -> None:
    seconds = [second_at(step / 1000) for step in range(1001)]
    assert seconds[0] == 0
    assert seconds[-1] == DURATION
    speeds = [after - before for before, after in pairwise(seconds)]
    assert min(speeds) > 0
    assert all(
        BREAK <= second <= CALMER for second, speed in zip(seconds[1:], speeds, strict=True) if speed == min(speeds)
    )
