"""The scenario model of portfolio margin, one option and one scenario at a time (design: portfolio.md).

Prices and rates are floats here, because Black-76 needs exp and log; what comes out is put on the grid of 1e-8 against the account
(`portfolio.py`). The normal distribution is `math.erfc`'s.
"""

import math
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400.0
YEAR_S: Final = 365 * DAY_S
MONTH_S: Final = 30 * DAY_S
LEAST: Final = 1e-18  # where a width or a total volatility would be zero
SKEWS: Final = ("linear", "abs")


@dataclass(frozen=True)
class Scenario:
    """`mode` is none, up, down, linear or abs."""

    id: str
    spot_shock: float
    mode: str
    dampening: float


@dataclass(frozen=True, kw_only=True)
class ScenarioPreset:
    """Every number of the model, named as in a preset file."""

    settlement_window_s: float
    scenarios: tuple[Scenario, ...]
    vol_range_up: float
    vol_range_down: float
    short_term_power: float
    long_term_power: float
    dte_floor_days: float
    min_vol_up_shock: float
    im_factor: float
    mm_factor: float
    long_rate_add: float
    long_rate_mult: float
    long_static_discount: float
    short_rate_add: float
    short_rate_mult: float
    short_static_discount: float
    scenario_spot_up: float
    scenario_spot_down: float
    add_factor: float
    mult_factor: float
    mm_perp_percent: float
    im_perp_percent: float
    mm_option_percent: float
    im_option_percent: float
    linear_base_cap: float
    abs_base_cap: float
    linear_c_base: float
    abs_c_base: float
    min_k_star: float
    vol_param_static: float
    vol_param_scale: float
    width_scale: float


@dataclass(frozen=True)
class Option:
    """`amount` signed, in units of the underlying; `premium` None: valued by the model."""

    is_call: bool
    strike: float
    amount: float
    volatility: float
    premium: float | None


@dataclass(frozen=True)
class Expiry:
    """The options that expire at one moment, with the forward and the rate of that day."""

    seconds: float
    forward: float
    rate: float
    options: tuple[Option, ...]

    @property
    def years(self) -> float:
        return self.seconds / YEAR_S


@dataclass(frozen=True)
class Collateral:
    """What it is worth in full, and how much of that counts."""

    value: float
    weight: float
    initial_weight: float


@dataclass(frozen=True)
class Underlying:
    """Everything that follows one spot price; perpetuals as (amount, mark)."""

    name: str
    spot: float
    perpetuals: tuple[tuple[float, float], ...]
    expiries: tuple[Expiry, ...]
    collaterals: tuple[Collateral, ...]


def normal(x: float) -> float:
    """The distribution function of the standard normal distribution."""
    return math.erfc(-x / math.sqrt(2)) / 2


def black76(option: Option, forward: float, volatility: float, years: float) -> float:
    """The undiscounted premium of one unit: F·N(d1) - K·N(d2) of a call, mirrored of a put, never below zero."""
    sign = 1 if option.is_call else -1
    spread = max(volatility * math.sqrt(years), LEAST)
    d1 = math.log(forward / option.strike) / spread + spread / 2
    d2 = d1 - spread
    return max(0.0, sign * (forward * normal(sign * d1) - option.strike * normal(sign * d2)))


def shocked_volatility(option: Option, expiry: Expiry, mode: str, preset: ScenarioPreset) -> float:
    if mode == "none":
        return option.volatility
    if mode in SKEWS:
        return option.volatility * max(0.0, 1 + tilt(option, expiry, mode, preset))
    power = preset.short_term_power if expiry.seconds <= MONTH_S else preset.long_term_power
    nearness = math.pow(MONTH_S / max(expiry.seconds, preset.dte_floor_days * DAY_S), power)
    if mode == "up":
        return max(preset.min_vol_up_shock, option.volatility * (1 + preset.vol_range_up * nearness))
    return option.volatility * max(0.0, 1 - preset.vol_range_down * nearness)


def tilt(option: Option, expiry: Expiry, mode: str, preset: ScenarioPreset) -> float:
    """How far a skew scenario moves this strike's volatility: k·cap/k*, at most cap either way."""
    root, k = math.sqrt(expiry.years), math.log(option.strike / expiry.forward)
    base_cap, c_base = preset.linear_base_cap, preset.linear_c_base
    if mode == "abs":
        k, base_cap, c_base = abs(k), preset.abs_base_cap, preset.abs_c_base
    width = root * preset.width_scale * (preset.vol_param_static + root * preset.vol_param_scale)
    k_star = max(width, preset.min_k_star, LEAST)
    cap = c_base * root + base_cap
    return min(cap, k * cap / k_star) if k >= 0 else max(-cap, k * cap / k_star)


def discount(expiry: Expiry) -> float:
    return math.exp(-expiry.rate * expiry.years)


def moving_share(expiry: Expiry, preset: ScenarioPreset) -> float:
    """The part of the forward that a shock still moves: less and less in the settlement window."""
    return min(1.0, expiry.seconds / preset.settlement_window_s) if preset.settlement_window_s else 1.0


def value(expiry: Expiry, shock: float, mode: str, preset: ScenarioPreset) -> float:
    """V(shock, mode): the options of one expiry, discounted."""
    forward = expiry.forward * (1 + moving_share(expiry, preset) * (shock - 1))
    total = 0.0
    for option in expiry.options:
        volatility = shocked_volatility(option, expiry, mode, preset)
        total += option.amount * black76(option, forward, volatility, expiry.years) * discount(expiry)
    return total


def expiry_pnl(expiry: Expiry, scenario: Scenario, preset: ScenarioPreset) -> float:
    """x = V'·d - V0; a tilt of the smile may go either way, and each expiry takes the way that loses."""
    shocked = value(expiry, scenario.spot_shock, scenario.mode, preset)
    rate, years = expiry.rate, expiry.years
    if shocked >= 0:
        factor = preset.long_static_discount * math.exp(-years * (rate * preset.long_rate_mult + preset.long_rate_add))
    else:
        short = preset.short_static_discount / math.exp(
            -years * (rate * preset.short_rate_mult + preset.short_rate_add)
        )
        factor = min(1 / discount(expiry), short)
    pnl = shocked * factor - value(expiry, 1.0, "none", preset)
    return -abs(pnl) if scenario.mode in SKEWS else pnl


def scenario_pnl(underlying: Underlying, scenario: Scenario, preset: ScenarioPreset) -> float:
    linear = sum(amount * mark for amount, mark in underlying.perpetuals)
    linear += sum(part.value for part in underlying.collaterals)
    options = sum(expiry_pnl(expiry, scenario, preset) for expiry in underlying.expiries)
    return scenario.dampening * (linear * (scenario.spot_shock - 1) + options)


def basis_pnl(underlying: Underlying, preset: ScenarioPreset) -> float:
    """Each expiry alone at the worse of two moves, more the longer it runs."""
    total = 0.0
    for expiry in underlying.expiries:
        now = value(expiry, 1.0, "none", preset)
        up = value(expiry, preset.scenario_spot_up, "none", preset) - now
        down = value(expiry, preset.scenario_spot_down, "none", preset) - now
        total += min(up, down, 0.0) * (preset.add_factor + preset.mult_factor * expiry.years)
    return total


def worst(underlying: Underlying, preset: ScenarioPreset) -> tuple[float, str | None]:
    """The largest loss (0 where nothing loses) and its scenario: of losses that are equal at 1e-8 the first, basis before all."""
    found = [(basis_pnl(underlying, preset), "basis")]
    found += [(scenario_pnl(underlying, scenario, preset), scenario.id) for scenario in preset.scenarios]
    least = min(round(pnl * 1e8) for pnl, _ in found)
    name = next(name for pnl, name in found if round(pnl * 1e8) == least)
    return min(0.0, *(pnl for pnl, _ in found)), name if least < 0 else None


def naked_shorts(expiry: Expiry) -> float:
    """Per strike the shorts that no long of the other type covers; two shorts add up."""
    total = 0.0
    for strike in {option.strike for option in expiry.options}:
        call = sum(option.amount for option in expiry.options if option.strike == strike and option.is_call)
        put = sum(option.amount for option in expiry.options if option.strike == strike and not option.is_call)
        total += max(0.0, -call - put) if call < 0 or put < 0 else 0.0
    return total


def contingencies(underlying: Underlying, preset: ScenarioPreset) -> tuple[float, float]:
    """For maintenance, and what initial margin adds to it; collateral's haircuts aside."""
    perpetuals = sum(abs(amount) for amount, _ in underlying.perpetuals) * underlying.spot
    shorts = sum(naked_shorts(expiry) for expiry in underlying.expiries) * underlying.spot
    maintenance = perpetuals * preset.mm_perp_percent + shorts * preset.mm_option_percent
    return maintenance, perpetuals * preset.im_perp_percent + shorts * preset.im_option_percent


def market_value(underlying: Underlying) -> float:
    """Options at their published premium, or the model's where there is none."""
    total = 0.0
    for expiry in underlying.expiries:
        for option in expiry.options:
            model = black76(option, expiry.forward, option.volatility, expiry.years) * discount(expiry)
            total += option.amount * (model if option.premium is None else option.premium)
    return total
