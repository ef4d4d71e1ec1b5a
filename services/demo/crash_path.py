"""A flash crash as a pure function of a seed, with the shape of 2025-10-10.

Ninety simulated minutes: a calm market, a slide, ten minutes in which it breaks, and a recovery. Bitcoin loses an eighth
within half an hour, a twentieth of it in one minute; altcoins lose between a half and four fifths within minutes and win
most of that back within the hour; the book is thinnest at the bottom. Every price is a curve through drawn knots (in log
price) plus a sum of sine waves, so that it has a value at any moment and the same seed gives the same crash at any speed.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Final

from msgspec import Struct

from services.demo.instruments import Listing

MINUTE: Final = 60.0
DURATION: Final = 90 * MINUTE
SLIDE, BREAK, LOW, BOUNCE, CALMER = 20 * MINUTE, 40 * MINUTE, 46 * MINUTE, 47 * MINUTE, 52 * MINUTE

# (simulated second, share of the wall time that has passed): the worst minutes are shown slowest. In a run of 38 s they pass
# 16 times as fast as on that day, the quiet ones up to a thousand times.
CLOCK: Final = (
    (0.0, 0.0), (SLIDE, 0.03), (BREAK, 0.10), (BOUNCE, 0.78), (BOUNCE + 3 * MINUTE, 0.92), (BOUNCE + 13 * MINUTE, 0.97),
    (DURATION, 1.0),
)  # fmt: skip
# (simulated second, share of a calm book that is left)
BOOK: Final = ((0.0, 1.0), (SLIDE, 1.0), (BREAK, 0.4), (LOW, 0.05), (CALMER, 0.15), (DURATION, 0.5))

Knots = tuple[tuple[float, float], ...]


class Wave(Struct, frozen=True):
    """One sine of the noise: its period in simulated seconds, its phase, its amplitude in log price."""

    period: float
    phase: float
    amplitude: float

    def at(self, second: float) -> float:
        return self.amplitude * math.sin(second / self.period * math.tau + self.phase)


class Curve(Struct, frozen=True):
    """The price of one instrument over the crash."""

    first_price: float
    knots: Knots  # (simulated second, log of the price over the first price)
    waves: tuple[Wave, ...]
    noise: Knots  # (simulated second, factor of the waves)

    def at(self, second: float) -> float:
        """The price at a simulated second."""
        waves = sum(wave.at(second) for wave in self.waves)
        return self.first_price * math.exp(interpolate(self.knots, second) + waves * interpolate(self.noise, second))


class CrashPath(Struct, frozen=True):
    """The curves of a market for one seed."""

    curves: dict[str, Curve]

    def prices(self, second: float) -> dict[str, float]:
        return {name: curve.at(second) for name, curve in self.curves.items()}


def crash_path(seed: int, market: Sequence[Listing]) -> CrashPath:
    """The crash of `seed`. Each instrument draws from a stream of its own, so that the order of the market is no input."""
    return CrashPath({listing.name: _curve(Random(f"{seed}/{listing.name}"), listing) for listing in market})


def second_at(share: float) -> float:
    """The simulated second that is shown when `share` of the wall time has passed."""
    return interpolate(tuple((wall, second) for second, wall in CLOCK), share)


def book_share(second: float) -> float:
    """How much of a calm book is left at a simulated second."""
    return interpolate(BOOK, second)


def interpolate(knots: Knots, x: float) -> float:
    """The straight line between the knots around `x`; the first or last value outside of them."""
    if x <= knots[0][0]:
        return knots[0][1]
    for (x0, y0), (x1, y1) in pairwise(knots):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return knots[-1][1]


def _curve(draw: Random, listing: Listing) -> Curve:
    if listing.name.startswith("BTC-"):
        return Curve(listing.first_price, _bitcoin(draw), _waves(draw, 0.0012), _noise(1.5))
    if listing.major:
        return Curve(listing.first_price, _major(draw), _waves(draw, 0.0018), _noise(2.0))
    return Curve(listing.first_price, _altcoin(draw), _waves(draw, 0.0025), _noise(3.0))


def _bitcoin(draw: Random) -> Knots:
    """-12 % from the slide to the low, of which -5 % in the minute before the last."""
    worst = LOW - MINUTE * draw.uniform(1.6, 2.4)
    return (
        (0.0, 0.0),
        (SLIDE, 0.0),
        (BREAK, math.log(1 - 0.035)),
        (worst, math.log(1 - 0.06)),
        (worst + MINUTE, math.log((1 - 0.06) * (1 - draw.uniform(0.048, 0.053)))),
        (LOW, math.log(1 - draw.uniform(0.119, 0.124))),
        (CALMER, math.log(1 - draw.uniform(0.085, 0.095))),
        (DURATION, math.log(1 - draw.uniform(0.055, 0.07))),
    )


def _major(draw: Random) -> Knots:
    """Between Bitcoin and the altcoins: a fifth to a quarter."""
    low = LOW + MINUTE * draw.uniform(-0.3, 0.3)
    depth = draw.uniform(0.19, 0.26)
    return (
        (0.0, 0.0),
        (SLIDE, 0.0),
        (BREAK, math.log(1 - 0.25 * depth)),
        (low - 3 * MINUTE, math.log(1 - 0.45 * depth)),
        (low, math.log(1 - depth)),
        (CALMER, math.log(1 - 0.6 * depth)),
        (DURATION, math.log(1 - 0.45 * depth)),
    )


def _altcoin(draw: Random) -> Knots:
    """-55 to -82 % at the low, most of it within five minutes, and most of that won back within the hour."""
    low = LOW + MINUTE * draw.uniform(-0.8, 0.8)
    depth = draw.uniform(0.58, 0.79)
    half = low + 3 * MINUTE
    return (
        (0.0, 0.0),
        (SLIDE, 0.0),
        (BREAK, math.log(1 - 0.12)),
        (low - 5 * MINUTE, math.log(1 - 0.15)),
        (low, math.log(1 - depth)),
        (half, math.log(1 - 0.55 * depth)),
        (half + 10 * MINUTE, math.log(1 - draw.uniform(0.35, 0.42) * depth)),
        (DURATION, math.log(1 - draw.uniform(0.25, 0.35) * depth)),
    )


def _waves(draw: Random, amplitude: float) -> tuple[Wave, ...]:
    """Noise between seconds and minutes; the slower, the larger, as in a random walk."""
    periods = [20.0 * 1.6**step for step in range(8)]
    return tuple(
        Wave(
            period * draw.uniform(0.8, 1.25),
            draw.uniform(0.0, math.tau),
            amplitude * draw.uniform(0.5, 1.0) * math.sqrt(period / periods[-1]),
        )
        for period in periods
    )


def _noise(at_the_low: float) -> Knots:
    return ((0.0, 1.0), (SLIDE, 1.0), (BREAK, at_the_low), (LOW, at_the_low), (CALMER, 1.0), (DURATION, 1.0))
