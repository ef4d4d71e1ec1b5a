"""Net sensitivities of one underlying: the derivatives of Black-76, at constant forward where time passes."""

import math

from services.reference.scenarios import (
    LEAST,
    Expiry,
    Option,
    ScenarioPreset,
    Underlying,
    black76,
    discount,
    moving_share,
    normal,
)


def net_greeks(underlying: Underlying, preset: ScenarioPreset) -> dict[str, float]:
    """Delta and gamma by the underlying's price, vega per 1.00 of volatility, theta per day."""
    held = sum(amount for amount, _ in underlying.perpetuals)
    held += sum(part.value for part in underlying.collaterals) / underlying.spot
    net = {"delta": held, "gamma": 0.0, "vega": 0.0, "theta": 0.0}
    for expiry in underlying.expiries:
        moving = moving_share(expiry, preset)
        for option in expiry.options:
            delta, gamma, vega, theta = greeks_of(option, expiry)
            net["delta"] += delta * moving * option.amount
            net["gamma"] += gamma * moving * moving * option.amount
            net["vega"] += vega * option.amount
            net["theta"] += theta * option.amount
    return net


def greeks_of(option: Option, expiry: Expiry) -> tuple[float, float, float, float]:
    """Of one unit. Without time or volatility the value no longer bends: gamma and vega are zero."""
    sign, root, forward = (1 if option.is_call else -1), math.sqrt(expiry.years), expiry.forward
    spread = option.volatility * root
    is_alive = spread > 0
    spread = spread if is_alive else LEAST
    d1 = math.log(forward / option.strike) / spread + spread / 2
    bell = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) * discount(expiry) if is_alive else 0.0
    decay = forward * bell * option.volatility / (2 * root) if is_alive else 0.0
    premium = black76(option, forward, option.volatility, expiry.years) * discount(expiry)
    carry = expiry.rate * premium if expiry.years > 0 else 0.0
    delta = sign * normal(sign * d1) * discount(expiry)
    return delta, bell / (forward * spread), forward * bell * root, (carry - decay) / 365
