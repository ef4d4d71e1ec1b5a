"""The slow obvious version of the scenario model: one option, one scenario at a time, in the words of the specification."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.engine.portfolio import Bucket, Expiry, Preset, Underlying
from services.engine.portfolio.preset import VolMode

YEAR_S = 365 * 86400
DAY_S = 86400


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def black76(*, is_call: bool, forward: float, strike: float, volatility: float, years: float, discount: float) -> float:
    spread = volatility * math.sqrt(years)
    if spread == 0.0:
        return discount * max(forward - strike if is_call else strike - forward, 0.0)
    d1 = math.log(forward / strike) / spread + spread / 2
    d2 = d1 - spread
    if is_call:
        return discount * max(forward * normal_cdf(d1) - strike * normal_cdf(d2), 0.0)
    return discount * max(strike * normal_cdf(-d2) - forward * normal_cdf(-d1), 0.0)


def shocked_volatility(preset: Preset, expiry: Expiry, strike: float, volatility: float, mode: VolMode) -> float:
    seconds = max(expiry.seconds_to_expiry, 0.0)
    shock, skew = preset.vol_shock, preset.skew_shock
    if mode in (VolMode.UP, VolMode.DOWN):
        power = shock.short_term_power if seconds <= 30 * DAY_S else shock.long_term_power
        m = math.pow(30 * DAY_S / max(seconds, shock.dte_floor_days * DAY_S), power)
        if mode is VolMode.UP:
            return max(shock.min_vol_up_shock, volatility * (1 + shock.vol_range_up * m))
        return volatility * max(0.0, 1 - shock.vol_range_down * m)
    if mode is VolMode.NONE:
        return volatility
    root = math.sqrt(seconds / YEAR_S)
    k = math.log(strike / expiry.forward)
    c_base, base_cap = skew.linear_c_base, skew.linear_base_cap
    if mode is VolMode.ABS:
        k, c_base, base_cap = abs(k), skew.abs_c_base, skew.abs_base_cap
    k_star = max(
        skew.min_k_star, root * skew.width_scale * (skew.vol_param_static + root * skew.vol_param_scale), 1e-18
    )
    cap = c_base * root + base_cap
    tilt = min(cap, k * cap / k_star) if k >= 0 else max(-cap, k * cap / k_star)
    return volatility * max(0.0, 1 + tilt)


def expiry_value(preset: Preset, expiry: Expiry, spot_shock: float, mode: VolMode) -> float:
    seconds = max(expiry.seconds_to_expiry, 0.0)
    moving = min(1.0, seconds / preset.settlement_window_s) if preset.settlement_window_s else 1.0
    forward = expiry.forward * moving * spot_shock + expiry.forward * (1 - moving)
    years = seconds / YEAR_S
    discount = math.exp(-max(expiry.rate, 0.0) * years)
    return math.fsum(
        leg.amount
        * black76(
            is_call=leg.is_call,
            forward=forward,
            strike=leg.strike,
            volatility=shocked_volatility(preset, expiry, leg.strike, leg.volatility, mode),
            years=years,
            discount=discount,
        )
        for leg in expiry.legs
    )


def expiry_pnl(preset: Preset, expiry: Expiry, spot_shock: float, mode: VolMode) -> float:
    margin, rate = preset.margin, max(expiry.rate, 0.0)
    years = max(expiry.seconds_to_expiry, 0.0) / YEAR_S
    shocked = expiry_value(preset, expiry, spot_shock, mode)
    if shocked >= 0:
        discount = margin.long_static_discount * math.exp(
            -years * (rate * margin.long_rate_mult + margin.long_rate_add)
        )
    else:
        short = math.exp(-years * (rate * margin.short_rate_mult + margin.short_rate_add))
        discount = min(math.exp(rate * years), margin.short_static_discount / short)
    return shocked * discount - expiry_value(preset, expiry, 1.0, VolMode.NONE)


def scenario_pnl(preset: Preset, underlying: Underlying) -> dict[str, float]:
    result = {"basis": basis_pnl(preset, underlying)}
    linear = sum(p.amount * p.mark for p in underlying.perpetuals) + sum(c.value for c in underlying.collaterals)
    for scenario in preset.scenarios:
        parts = [expiry_pnl(preset, item, scenario.spot_shock, scenario.vol_shock) for item in underlying.expiries]
        if scenario.vol_shock.is_skew:
            parts = [-abs(part) for part in parts]
        result[scenario.id] = scenario.dampening * (linear * (scenario.spot_shock - 1) + math.fsum(parts))
    return result


def basis_pnl(preset: Preset, underlying: Underlying) -> float:
    basis, total = preset.basis_contingency, 0.0
    for expiry in underlying.expiries:
        now = expiry_value(preset, expiry, 1.0, VolMode.NONE)
        up = expiry_value(preset, expiry, basis.scenario_spot_up, VolMode.NONE) - now
        down = expiry_value(preset, expiry, basis.scenario_spot_down, VolMode.NONE) - now
        years = max(expiry.seconds_to_expiry, 0.0) / YEAR_S
        total += min(up, down, 0.0) * (basis.add_factor + basis.mult_factor * years)
    return total


def naked_shorts(expiry: Expiry) -> float:
    """By cases, as the contract counts them: the call and the put position of a strike against each other."""
    total = 0.0
    for strike in sorted({leg.strike for leg in expiry.legs}):
        call = sum(leg.amount for leg in expiry.legs if leg.strike == strike and leg.is_call)
        put = sum(leg.amount for leg in expiry.legs if leg.strike == strike and not leg.is_call)
        if call < 0 and put < 0:
            total += -call - put
        elif call < 0:
            total += -call - min(-call, put)
        elif put < 0:
            total += -put - min(-put, call)
    return total


@dataclass(frozen=True)
class OracleResult:
    equity: float
    maintenance_excess: float
    initial_excess: float
    worst_scenario: str | None
    scale: float  # size of the largest number that went into the sums: what a rounding error is measured against


def evaluate(preset: Preset, bucket: Bucket) -> OracleResult:
    other, margin = preset.other_contingency, preset.margin
    market, worst, maintenance, initial, scale = bucket.cash, 0.0, 0.0, 0.0, abs(bucket.cash)
    named: list[tuple[float, str]] = []
    collaterals = [*bucket.other_collateral, *(c for u in bucket.underlyings for c in u.collaterals)]
    haircut = math.fsum(max(c.value, 0) * (1 - c.weight) for c in collaterals)
    initial_haircut = math.fsum(max(c.value, 0) * (1 - c.initial_weight) for c in collaterals)
    market += math.fsum(c.value for c in collaterals)
    scale += sum(abs(c.value) for c in collaterals)
    for underlying in bucket.underlyings:
        pnl = scenario_pnl(preset, underlying)
        name, loss = min(pnl.items(), key=lambda item: round(item[1] * 1e8))
        worst += min(loss, 0.0)
        if round(loss * 1e8) < 0:
            named.append((loss, name if len(bucket.underlyings) == 1 else f"{underlying.name}/{name}"))
        market += option_value(underlying)
        perpetuals = sum(abs(p.amount) for p in underlying.perpetuals) * underlying.spot
        shorts = sum(naked_shorts(expiry) for expiry in underlying.expiries) * underlying.spot
        maintenance += perpetuals * other.mm_perp_percent + shorts * other.mm_option_percent
        initial += perpetuals * other.im_perp_percent + shorts * other.im_option_percent
        scale += sum(abs(value) for value in gross(underlying))
    return OracleResult(
        equity=market - haircut,
        maintenance_excess=market + worst * margin.mm_factor - maintenance - haircut,
        initial_excess=market + worst * margin.im_factor - maintenance - initial - initial_haircut,
        worst_scenario=min(named)[1] if named else None,
        scale=scale,
    )


def option_value(underlying: Underlying) -> float:
    """At the published premium, or at the model's, computed from the definition, where there is none."""
    total = 0.0
    for expiry in underlying.expiries:
        years = max(expiry.seconds_to_expiry, 0.0) / YEAR_S
        discount = math.exp(-max(expiry.rate, 0.0) * years)
        for leg in expiry.legs:
            model = black76(
                is_call=leg.is_call,
                forward=expiry.forward,
                strike=leg.strike,
                volatility=leg.volatility,
                years=years,
                discount=discount,
            )
            total += leg.amount * (model if leg.mark is None else leg.mark)
    return total


def gross(underlying: Underlying) -> Sequence[float]:
    """What was added up, without its signs, at the largest shocks that presets hold."""
    options = [leg.amount * (6 * expiry.forward + leg.strike) for expiry in underlying.expiries for leg in expiry.legs]
    return [*options, *(6 * p.amount * p.mark for p in underlying.perpetuals)]
