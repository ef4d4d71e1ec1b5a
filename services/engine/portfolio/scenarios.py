"""The scenario grid: what each expiry and each underlying is worth under each shock of a preset.

Everything is computed for all options of all buckets at once. Sums run in the order in which positions are held and never
across buckets, so a bucket has the same bits alone and in any batch.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.engine.portfolio import black76
from services.engine.portfolio.columns import Columns, ExpiryColumns
from services.engine.portfolio.elementary import Floats, exp, log
from services.engine.portfolio.preset import Preset, Scenario, SkewShock, VolMode

_SECONDS_PER_DAY: Final = 86400.0
_THIRTY_DAYS_S: Final = 30 * _SECONDS_PER_DAY
_MODES: Final = tuple(VolMode)
_LEAST_K_STAR: Final = 1e-18  # a preset may set min_k_star 0, and at expiry k* is 0


@dataclass(frozen=True, slots=True)
class Grid:
    """A preset as arrays. Each different (spot shock, mode) is a column and is priced once; `scenarios` picks them.

    base, up, down: the columns of no shock and of the two moves of the basis scenario.
    """

    shock: Floats
    mode: NDArray[np.intp]
    scenarios: NDArray[np.intp]
    is_skew: NDArray[np.bool_]
    move: Floats
    dampening: Floats
    base: int
    up: int
    down: int


@lru_cache(maxsize=32)
def grid_of(scenarios: tuple[Scenario, ...], spot_up: float, spot_down: float) -> Grid:
    """The grid of a preset's scenarios and its two basis moves."""
    fixed = [(1.0, VolMode.NONE), (spot_up, VolMode.NONE), (spot_down, VolMode.NONE)]
    wanted = [(scenario.spot_shock, scenario.vol_shock) for scenario in scenarios]
    column = {pair: index for index, pair in enumerate(dict.fromkeys(fixed + wanted))}
    return Grid(
        shock=np.array([shock for shock, _ in column]),
        mode=np.array([_MODES.index(mode) for _, mode in column], dtype=np.intp),
        scenarios=np.array([column[pair] for pair in wanted], dtype=np.intp),
        is_skew=np.array([scenario.vol_shock.is_skew for scenario in scenarios]),
        move=np.array([scenario.spot_shock - 1.0 for scenario in scenarios]),
        dampening=np.array([scenario.dampening for scenario in scenarios]),
        base=column[fixed[0]],
        up=column[fixed[1]],
        down=column[fixed[2]],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a preset makes of each expiry. discount: of a payment on that day.

    long, short: factors on the shocked value of an expiry that is worth something, or owed. up, down: on volatilities.
    """

    discount: Floats
    long: Floats
    short: Floats
    up: Floats
    down: Floats


def terms_of(preset: Preset, expiries: ExpiryColumns) -> Terms:
    """The nearer an expiry is, the further its volatility moves; the farther, the more its shocked value is discounted."""
    shock, margin, rate = preset.vol_shock, preset.margin, expiries.rate
    nearness = _THIRTY_DAYS_S / np.maximum(expiries.seconds, shock.dte_floor_days * _SECONDS_PER_DAY)
    power = np.where(expiries.seconds <= _THIRTY_DAYS_S, shock.short_term_power, shock.long_term_power)
    exponents = (
        rate * -expiries.years,
        (rate * margin.long_rate_mult + margin.long_rate_add) * -expiries.years,
        (rate * margin.short_rate_mult + margin.short_rate_add) * -expiries.years,
        power * log(nearness),
    )
    discount, long, short, multiplier = exp(np.stack(exponents))
    return Terms(
        discount=discount,
        long=margin.long_static_discount * long,
        short=np.minimum(1.0 / discount, margin.short_static_discount / short),
        up=1.0 + shock.vol_range_up * multiplier,
        down=np.maximum(0.0, 1.0 - shock.vol_range_down * multiplier),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """pnl: underlying × scenario. basis: per underlying. base_price: per option, discounted, nothing shocked."""

    pnl: Floats
    basis: Floats
    base_price: Floats


def table_of(preset: Preset, columns: Columns, terms: Terms) -> Table:
    """Scenario and basis PnL of each underlying."""
    basis = preset.basis_contingency
    grid = grid_of(preset.scenarios, basis.scenario_spot_up, basis.scenario_spot_down)
    pnl = columns.underlyings.linear[:, None] * grid.move * grid.dampening
    basis_pnl = np.zeros(len(columns.underlyings.spot))
    if not len(columns.options.sign):
        return Table(pnl=pnl, basis=basis_pnl, base_price=np.empty(0))
    price = _prices(preset, grid, columns, terms)
    value = np.add.reduceat(price * columns.options.amount[:, None], columns.expiries.first, axis=0)
    _add_rows(pnl, _expiry_pnl(grid, terms, value), columns.expiries)
    _add_rows(basis_pnl, _expiry_basis(preset, grid, columns.expiries, value), columns.expiries)
    return Table(pnl=pnl, basis=basis_pnl, base_price=price[:, grid.base])


def _add_rows(total: Floats, part: Floats, expiries: ExpiryColumns) -> None:
    """total[underlying] += Σ part over its expiries, which stand next to each other."""
    starts = np.flatnonzero(np.diff(expiries.underlying, prepend=-1))
    total[expiries.underlying[starts]] += np.add.reduceat(part, starts, axis=0)


def _prices(preset: Preset, grid: Grid, columns: Columns, terms: Terms) -> Floats:
    """Discounted premium per unit: option × grid column."""
    options, expiries = columns.options, columns.expiries
    factor = 1.0 + expiries.moving[:, None] * (grid.shock - 1.0)
    forward = expiries.forward[:, None] * factor
    volatility = _volatilities(preset, columns, terms)
    total = (volatility * np.sqrt(expiries.years)[options.expiry][:, None])[:, grid.mode]
    undiscounted = black76.price(
        options.sign[:, None],
        options.log_moneyness[:, None] - log(factor)[options.expiry],
        total,
        forward[options.expiry],
        options.strike[:, None],
    )
    return undiscounted * terms.discount[options.expiry][:, None]


def _volatilities(preset: Preset, columns: Columns, terms: Terms) -> Floats:
    """Volatility of each option under each mode: option × VolMode."""
    options = columns.options
    row, volatility, k = options.expiry, options.volatility, options.log_moneyness
    by_mode = {
        VolMode.NONE: volatility,
        VolMode.UP: np.maximum(preset.vol_shock.min_vol_up_shock, volatility * terms.up[row]),
        VolMode.DOWN: volatility * terms.down[row],
        VolMode.LINEAR: volatility * _skew(preset.skew_shock, VolMode.LINEAR, k, columns),
        VolMode.ABS: volatility * _skew(preset.skew_shock, VolMode.ABS, np.abs(k), columns),
    }
    return np.stack([by_mode[mode] for mode in _MODES], axis=1)


def _skew(shock: SkewShock, mode: VolMode, k: Floats, columns: Columns) -> Floats:
    """Factor on each option's volatility: grows with its log-moneyness k up to k*, beyond which the cap holds."""
    root = np.sqrt(columns.expiries.years)
    c_base, base_cap = (
        (shock.linear_c_base, shock.linear_base_cap)
        if mode is VolMode.LINEAR
        else (shock.abs_c_base, shock.abs_base_cap)
    )
    width = root * shock.width_scale * (shock.vol_param_static + root * shock.vol_param_scale)
    k_star = np.maximum(width, max(shock.min_k_star, _LEAST_K_STAR))[columns.options.expiry]
    cap = (c_base * root + base_cap)[columns.options.expiry]
    slope = k * cap / k_star
    return np.maximum(0.0, 1.0 + np.where(k >= 0.0, np.minimum(cap, slope), np.maximum(-cap, slope)))


def _expiry_pnl(grid: Grid, terms: Terms, value: Floats) -> Floats:
    """Expiry × scenario: the discounted shocked value less the value now, dampened."""
    shocked = value[:, grid.scenarios]
    factor = np.where(shocked >= 0.0, terms.long[:, None], terms.short[:, None])
    pnl = (shocked * factor - value[:, grid.base][:, None]) * grid.dampening
    # A tilt of the smile may go either way: each expiry takes the way that loses.
    return np.where(grid.is_skew, -np.abs(pnl), pnl)


def _expiry_basis(preset: Preset, grid: Grid, expiries: ExpiryColumns, value: Floats) -> Floats:
    """Per expiry: its loss alone at the worse of two spot moves, larger the longer it runs; never above zero."""
    now = value[:, grid.base]
    loss = np.minimum(np.minimum(value[:, grid.up] - now, value[:, grid.down] - now), 0.0)
    basis = preset.basis_contingency
    return loss * (basis.add_factor + basis.mult_factor * expiries.years)
