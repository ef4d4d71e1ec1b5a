"""Black-76: options on a forward. Prices and greeks of whole arrays at once.

Source: F. Black, The pricing of commodity contracts (1976), with total volatility s = volatility·√τ:
price = φ·D·(F·N(φ·d1) - K·N(φ·d2)), d1 = ln(F/K)/s + s/2, d2 = d1 - s, φ = 1 for a call and -1 for a put.
Written with φ, an option out of the money is a difference of two small numbers, never of two large ones.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.engine.portfolio.elementary import Floats, normal

DAYS_PER_YEAR: Final = 365.0
# Where no time or no volatility is left the price is what exercise pays; a total volatility this small gives just that.
_LEAST_TOTAL_VOLATILITY: Final = 1e-18


def price(sign: Floats, log_moneyness: Floats, total_volatility: Floats, forward: Floats, strike: Floats) -> Floats:
    """Undiscounted premium for one unit. Multiply by the discount factor for the value today.

    sign: 1 call, -1 put. log_moneyness: ln(strike/forward). total_volatility: volatility·√τ, zero allowed.
    forward, strike: positive prices. Arguments broadcast against each other. Never below zero, always finite.
    """
    spread = np.maximum(total_volatility, _LEAST_TOTAL_VOLATILITY)
    d1 = 0.5 * spread - log_moneyness / spread
    both = np.stack(np.broadcast_arrays(d1, d1 - spread))
    both *= sign
    weight_forward, weight_strike = normal(both)[0]
    premium: Floats = np.maximum(sign * (forward * weight_forward - strike * weight_strike), 0.0)
    return premium


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionGreeks:
    """Per unit of option. delta: by the forward. gamma: delta by the forward. vega: by volatility, per 1.00.
    theta: by the passing of one day, at constant forward."""

    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats


def greeks(
    *,
    sign: Floats,
    volatility: Floats,
    years: Floats,
    forward: Floats,
    log_moneyness: Floats,
    rate: Floats,
    discount: Floats,
    premium: Floats,
) -> OptionGreeks:
    """First and second derivatives of the discounted price, whose value is `premium` and discount `exp(-rate·years)`.

    Arrays of one shape. Where no time or no volatility is left the value no longer bends: gamma and vega are zero.
    """
    root = np.sqrt(years)
    alive = volatility * root > 0.0
    spread = np.where(alive, volatility * root, _LEAST_TOTAL_VOLATILITY)
    d1 = 0.5 * spread - log_moneyness / spread
    weight, bell = normal(sign * d1)
    density = np.where(alive, bell, 0.0) * discount
    decay = forward * density * volatility / np.where(alive, 2.0 * root, 1.0)
    return OptionGreeks(
        delta=sign * weight * discount,
        gamma=density / (forward * spread) * alive,
        vega=forward * density * root,
        theta=(np.where(years > 0.0, rate * premium, 0.0) - decay) / DAYS_PER_YEAR,
    )
