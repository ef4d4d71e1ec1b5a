"""exp, log and the normal distribution out of IEEE-754 basic operations only.

`numpy.exp` and `math.log` are not correctly rounded: their last bits differ between processors and C libraries. A margin
that is compared with zero must not. Everything here is built from + - * / sqrt, comparisons and bit moves, which IEEE-754
defines exactly, so every machine computes the same bits. All functions take and give float64 arrays of any shape.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

EXP_LIMIT: Final = 708.0  # exp(±708) is still a normal number
_LOG2_E: Final = 1.4426950408889634
_LN2_HIGH: Final = 6.93147180369123816490e-01  # the leading 33 bits of ln 2, so that k·_LN2_HIGH is exact
_LN2_LOW: Final = 1.90821492927058770002e-10
_SQRT_HALF: Final = 0.7071067811865476
_INV_SQRT_2PI: Final = 0.3989422804014327

# r·coth(r/2) = Σ 2·B_2n·r^2n/(2n)!, B_2n the Bernoulli numbers; highest power first, in r².
_COTH: Final = (-691 / 653837184000, 1 / 23950080, -1 / 604800, 1 / 15120, -1 / 360, 1 / 6, 2.0)
# atanh(s)/s = Σ s^2n/(2n+1); highest power first, in s².
_ATANH: Final = tuple(1 / (2 * n + 1) for n in range(11, -1, -1))

# N(-x)·exp(x²/2) for 0 <= x < 7.07: J. F. Hart et al., Computer Approximations (1968), algorithm 5666,
# with the digits of G. West, Better Approximations to Cumulative Normal Functions (2005).
_HART_TOP: Final = (
    3.52624965998911e-02, 0.700383064443688, 6.37396220353165, 33.912866078383,
    112.079291497871, 221.213596169931, 220.206867912376,
)  # fmt: skip
_HART_BOTTOM: Final = (
    8.83883476483184e-02, 1.75566716318264, 16.064177579207, 86.7807322029461,
    296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """Horner's rule, highest power first."""
    result = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        result += coefficient
        result *= x
    result += coefficients[-1]
    return result


def exp(x: Floats) -> Floats:
    """e^x; x is held within ±EXP_LIMIT, so the result is finite and not zero. Error under 1 unit in the last place."""
    x = np.minimum(np.maximum(x, -EXP_LIMIT), EXP_LIMIT)
    k = np.rint(x * _LOG2_E)
    r = x - k * _LN2_HIGH
    r -= k * _LN2_LOW
    bottom = _polynomial(_COTH, r * r)
    bottom -= r
    r += r
    r /= bottom
    r += 1.0
    power = (k.astype(np.int64) + 1023) << 52
    r *= power.view(np.float64)
    return r


def log(x: Floats) -> Floats:
    """Natural logarithm of positive numbers. Error under 2 units in the last place."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, mantissa + mantissa, mantissa)
    k = (exponent - low).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = _polynomial(_ATANH, s * s)
    series *= s + s
    return k * _LN2_HIGH + (series + k * _LN2_LOW)


def normal(x: Floats) -> tuple[Floats, Floats]:
    """(distribution function, density) of the standard normal distribution. Absolute error of each under 1e-15."""
    size = np.minimum(np.abs(x), 37.5)
    bell = exp(size * size * -0.5)
    tail = bell * _polynomial(_HART_TOP, size)
    tail /= _polynomial(_HART_BOTTOM, size)
    return np.where(x > 0.0, 1.0 - tail, tail), bell * _INV_SQRT_2PI
