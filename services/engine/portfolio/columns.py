"""Buckets laid out as columns: one row per option, expiry and underlying, in the order in which they are held."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.engine.portfolio.elementary import Floats, log
from services.engine.portfolio.model import Bucket, Expiry, HedgingCollateral, Underlying

SECONDS_PER_YEAR: Final = 365.0 * 86400.0

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionColumns:
    """One row per option. sign: 1 call, -1 put. mark: NaN where the model values it. expiry: row in ExpiryColumns.

    log_moneyness: ln(strike/forward), nothing shocked.
    """

    sign: Floats
    strike: Floats
    log_moneyness: Floats
    amount: Floats
    volatility: Floats
    mark: Floats
    expiry: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryColumns:
    """One row per expiry that holds an option. moving: the part of the forward that still moves with a shock.

    first: row of its first option. underlying: row in UnderlyingColumns. naked_shorts: in units of the underlying.
    """

    seconds: Floats
    years: Floats
    forward: Floats
    rate: Floats
    moving: Floats
    naked_shorts: Floats
    first: Indices
    underlying: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlyingColumns:
    """One row per underlying. linear: market value that moves in proportion to the price. perpetuals: Σ |amount|.

    delta: Σ amount of perpetuals and Σ value/spot of collateral.
    """

    spot: Floats
    linear: Floats
    perpetuals: Floats
    delta: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    options: OptionColumns
    expiries: ExpiryColumns
    underlyings: UnderlyingColumns


def haircuts(collaterals: Sequence[HedgingCollateral]) -> tuple[float, float, float]:
    """(Σ value, Σ maintenance haircut, Σ initial haircut). A debt has no haircut: it counts in full."""
    value = sum(item.value for item in collaterals)
    maintenance = sum(max(item.value, 0.0) * (1.0 - item.weight) for item in collaterals)
    initial = sum(max(item.value, 0.0) * (1.0 - item.initial_weight) for item in collaterals)
    return float(value), float(maintenance), float(initial)


def naked_shorts(expiry: Expiry) -> float:
    """Short options of an expiry that no long option of the same strike covers, in units of the underlying.

    Per strike: two shorts add up, a long takes away from the short of the other type, two longs count nothing. All three
    are the short side of the net amount.
    """
    net: dict[float, float] = {}
    for leg in expiry.legs:
        net[leg.strike] = net.get(leg.strike, 0.0) + leg.amount
    return float(sum(-amount for amount in net.values() if amount < 0.0))


def columns_of(buckets: Sequence[Bucket], *, settlement_window_s: float) -> Columns:
    """All underlyings of all buckets below each other. Refuses, by assertion, prices that the engine should not have sent."""
    underlyings = [underlying for bucket in buckets for underlying in bucket.underlyings]
    held = [(row, expiry) for row, item in enumerate(underlyings) for expiry in item.expiries if expiry.legs]
    expiries = _expiry_columns(held, settlement_window_s)
    return Columns(
        options=_option_columns([expiry for _, expiry in held], expiries.forward),
        expiries=expiries,
        underlyings=_underlying_columns(underlyings),
    )


def _option_columns(expiries: Sequence[Expiry], forward: Floats) -> OptionColumns:
    rows = [
        (
            1.0 if leg.is_call else -1.0, leg.strike, leg.amount, leg.volatility,
            np.nan if leg.mark is None else leg.mark, float(row),
        )
        for row, expiry in enumerate(expiries)
        for leg in expiry.legs
    ]  # fmt: skip
    sign, strike, amount, volatility, mark, expiry_row = _transposed(rows, 6)
    assert _finite_above(0.0, strike).all(), "a strike is positive"
    assert (_finite_above(0.0, volatility) | (volatility == 0.0)).all(), "a volatility is not negative"
    assert np.isfinite(amount).all(), "an amount is a number"
    rows_of = expiry_row.astype(np.intp)
    return OptionColumns(
        sign=sign,
        strike=strike,
        log_moneyness=log(strike / forward[rows_of]),
        amount=amount,
        volatility=volatility,
        mark=mark,
        expiry=rows_of,
    )


def _expiry_columns(expiries: Sequence[tuple[int, Expiry]], window_s: float) -> ExpiryColumns:
    first = 0
    rows = []
    for underlying, expiry in expiries:
        seconds = max(expiry.seconds_to_expiry, 0.0)
        moving = min(seconds / window_s, 1.0) if window_s > 0.0 else 1.0
        rows.append(
            (
                seconds, expiry.forward, max(expiry.rate, 0.0), moving, naked_shorts(expiry),
                float(first), float(underlying),
            )
        )  # fmt: skip
        first += len(expiry.legs)
    seconds_, forward, rate, moving_, naked, first_, underlying_ = _transposed(rows, 7)
    assert _finite_above(0.0, forward).all(), "a forward price is positive"
    return ExpiryColumns(
        seconds=seconds_, years=seconds_ / SECONDS_PER_YEAR, forward=forward, rate=rate, moving=moving_,
        naked_shorts=naked, first=first_.astype(np.intp), underlying=underlying_.astype(np.intp),
    )  # fmt: skip


def _underlying_columns(underlyings: Sequence[Underlying]) -> UnderlyingColumns:
    rows = []
    for item in underlyings:
        collateral = sum(part.value for part in item.collaterals)
        rows.append(
            (
                item.spot,
                sum(part.amount * part.mark for part in item.perpetuals) + collateral,
                sum(abs(part.amount) for part in item.perpetuals),
                sum(part.amount for part in item.perpetuals),
                collateral,
            )
        )
    spot, linear, perpetuals, net, value = _transposed(rows, 5)
    assert _finite_above(0.0, spot).all(), "a spot price is positive"
    return UnderlyingColumns(spot=spot, linear=linear, perpetuals=perpetuals, delta=net + value / spot)


def _finite_above(limit: float, values: Floats) -> NDArray[np.bool_]:
    return (values > limit) & (values < np.inf)


def _transposed(rows: Sequence[tuple[float, ...]], width: int) -> Floats:
    """The columns of a table, each contiguous; of no rows, `width` empty columns."""
    return np.ascontiguousarray(np.array(rows, dtype=np.float64).reshape(-1, width).T)
