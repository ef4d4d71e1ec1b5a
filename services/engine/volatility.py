"""How much an instrument moves, and what that asks of its margin (margin.md "Volatility-driven multiplier").

Exact or correctly rounded everywhere: integers of 1e-18, and decimal logarithms and exponentials of 40 digits, which the General
Decimal Arithmetic Specification defines to the last digit. So every machine publishes the same multiplier from the same prices.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from math import isqrt
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE

SECOND_MS: Final = 1000
DIGITS: Final = Context(prec=40, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)
LN_HALF: Final = DIGITS.ln(Decimal("0.5"))  # not -ln 2: a sign rounds by the context of the thread


class RiskModel(Struct, frozen=True, kw_only=True):
    """Parameters of the multiplier. Rates are e18 integers, durations milliseconds of event time."""

    half_life_ms: int = 600_000  # after so long a return weighs half as much
    sample_ms: int = 1_000  # returns are taken at least so far apart
    initial_sigma: int = ONE // 5_000  # per square root of a second, before the first return
    z: int = 3 * ONE
    close_out_ms: int = 60_000  # T: how long a position stays open after its bucket is liquidatable
    cap: int = 4 * ONE
    quantum: int = ONE // 20
    hysteresis: int = ONE // 20  # the multiplier falls, and its buffer is filled, only by more than so much
    step_ms: int = 60_000  # at most one step in so long
    max_up: int = ONE // 4
    max_down: int = ONE // 20
    buffer: int = ONE // 5  # share of the margin that stress may use
    notice_ms: int = 5_000  # from the publication to the effect
    refresh_ms: int = 300_000  # a record at least so often
    variance_band: int = ONE // 4  # and whenever the variance has moved by so much of itself

    def __post_init__(self) -> None:
        durations = (self.half_life_ms, self.sample_ms, self.close_out_ms, self.step_ms)
        if min(durations) <= 0 or min(self.notice_ms, self.refresh_ms) < 0:
            raise ValueError("durations must be positive")
        if self.cap < ONE or not 0 <= self.buffer < ONE:
            raise ValueError("cap must be at least 1, buffer at least 0 and below 1")
        if self.quantum <= 0 or self.hysteresis < self.quantum or min(self.max_up, self.max_down) < self.quantum:
            raise ValueError("hysteresis and the largest steps must be at least one quantum, and that above 0")


def updated_variance(variance: int, before: int, now: int, elapsed_ms: int, half_life_ms: int) -> int:
    """The EWMA of squared log returns per second after a move from price `before` to `now`; e18, half-even.

    The weight of a return is that of the time it spans, 1 - 2^(-elapsed/half life), at most a half: one move after a silence
    does not erase all that was known.
    """
    move = DIGITS.ln(DIGITS.divide(Decimal(now), Decimal(before)))
    share = DIGITS.divide(Decimal(min(elapsed_ms, half_life_ms)), Decimal(half_life_ms))
    weight = DIGITS.subtract(Decimal(1), DIGITS.exp(DIGITS.multiply(LN_HALF, share)))
    squared = DIGITS.multiply(DIGITS.multiply(move, move), Decimal(ONE))
    per_second = DIGITS.divide(DIGITS.multiply(squared, Decimal(SECOND_MS)), Decimal(elapsed_ms))
    change = DIGITS.multiply(weight, DIGITS.subtract(per_second, Decimal(variance)))
    return variance + int(DIGITS.to_integral_value(change))


def demanded(variance: int, first_rate: int, model: RiskModel) -> int:
    """z·σ·√T / m_0, e18, rounded up; 1 where nothing is required anyway. Not clamped."""
    if not first_rate:
        return ONE
    sigma = isqrt(variance * ONE)
    root = isqrt(model.close_out_ms * ONE * ONE // SECOND_MS)
    return -(-model.z * sigma * root // (ONE * first_rate))


def next_multiplier(held: int, core: int, core_before: int, model: RiskModel) -> int:
    """One step from the multiplier `held` towards what is demanded (`core`), e18.

    The margin held in calm times is core/(1 - buffer). Stress may use the buffer: the multiplier rises only when core itself
    exceeds it. It falls when even the full margin is lower; and while core does not rise, a used buffer is filled again. Both are
    slow; a rise is faster. What is held stays between 1 and the cap, on the grid of the quantum or at the cap.
    """
    low = clamped(core, model)
    full = on_grid(clamped(-(-core * ONE // (ONE - model.buffer)), model), model)
    up, down = (step // model.quantum * model.quantum for step in (model.max_up, model.max_down))
    if low > held:
        return min(on_grid(low, model), held + up)
    if held - full >= model.hysteresis + model.quantum:
        return max(full, on_grid(held - down, model))
    if core <= core_before and full - held >= model.hysteresis + model.quantum:
        return min(full, held + down)
    return held


def clamped(multiplier: int, model: RiskModel) -> int:
    return min(max(multiplier, ONE), model.cap)


def on_grid(multiplier: int, model: RiskModel) -> int:
    """Up to 1 plus a multiple of the quantum, and never past the cap."""
    steps = -(-(multiplier - ONE) // model.quantum)
    return min(ONE + steps * model.quantum, model.cap)
