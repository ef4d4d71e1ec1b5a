"""Margin of portfolio buckets: worst scenario, contingencies, equity and greeks.

Shape and formulas: second-generation portfolio margin of Derive v2 (contracts PMRM_2 and PMRMLib_2), which contains the
first generation and SPAN as special choices of the numbers in a preset.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from services.engine.portfolio import black76
from services.engine.portfolio.columns import Columns, columns_of, haircuts
from services.engine.portfolio.elementary import Floats
from services.engine.portfolio.model import Bucket, Greeks, HedgingCollateral, PortfolioResult, Underlying
from services.engine.portfolio.preset import Preset
from services.engine.portfolio.scenarios import Table, Terms, table_of, terms_of

BASIS_ID: Final = "basis"
_QUANTA: Final = 10**8  # amounts are multiples of 1e-8
_GREEK_QUANTA: Final = 10**12
_RELATIVE_NOISE: Final = 2.0**-50
_ABSOLUTE_NOISE: Final = 1e-10
_ONE: Final = 10**18
_BATCH_OPTIONS: Final = 512  # per pass: larger ones leave the cache, smaller ones pay more for calls


def evaluate(
    preset: Preset, cash: float, underlyings: Sequence[Underlying], other_collateral: Sequence[HedgingCollateral] = ()
) -> PortfolioResult:
    """Margin of one bucket; see `Bucket` for what `cash` holds."""
    return evaluate_many(preset, (Bucket(cash=cash, underlyings=underlyings, other_collateral=other_collateral),))[0]


def evaluate_many(preset: Preset, buckets: Sequence[Bucket]) -> list[PortfolioResult]:
    """Margin of many buckets, in their order. The result of a bucket does not depend on what else is in the batch."""
    return [result for batch in _batches(buckets) for result in _evaluate_batch(preset, batch)]


def scenario_pnl(preset: Preset, underlying: Underlying) -> dict[str, float]:
    """PnL of one underlying under each scenario, by id, "basis" first: the explanation behind `worst_scenario`."""
    bucket = Bucket(cash=0.0, underlyings=(underlying,))
    columns = columns_of((bucket,), settlement_window_s=preset.settlement_window_s)
    table = table_of(preset, columns, terms_of(preset, columns.expiries))
    ids = [scenario.id for scenario in preset.scenarios]
    return {BASIS_ID: float(table.basis[0]), **dict(zip(ids, table.pnl[0].tolist(), strict=True))}


def _batches(buckets: Sequence[Bucket]) -> Iterator[list[Bucket]]:
    """Whole buckets together until a pass is full."""
    batch: list[Bucket] = []
    options = 0
    for bucket in buckets:
        batch.append(bucket)
        options += sum(len(expiry.legs) for item in bucket.underlyings for expiry in item.expiries)
        if options >= _BATCH_OPTIONS:
            yield batch
            batch, options = [], 0
    if batch:
        yield batch


def _evaluate_batch(preset: Preset, buckets: Sequence[Bucket]) -> Iterator[PortfolioResult]:
    columns = columns_of(buckets, settlement_window_s=preset.settlement_window_s)
    summary = _Summary(preset, columns)
    first = 0
    for bucket in buckets:
        yield summary.result(bucket, first)
        first += len(bucket.underlyings)


class _Summary:
    """What each underlying of a batch adds to its bucket; all lists have one element per underlying."""

    def __init__(self, preset: Preset, columns: Columns) -> None:
        terms = terms_of(preset, columns.expiries)
        table = table_of(preset, columns, terms)
        self._preset = preset
        self._worst, self._worst_id = _worst(preset, table)
        self._option_value = _option_values(columns, table)
        self._maintenance, self._initial = _contingencies(preset, columns)
        self._greeks = _net_greeks(columns, terms, table)

    def result(self, bucket: Bucket, first: int) -> PortfolioResult:
        """The bucket whose underlyings stand from row `first` on."""
        rows = range(first, first + len(bucket.underlyings))
        collaterals = [part for item in bucket.underlyings for part in item.collaterals]
        value, haircut, initial_haircut = haircuts([*collaterals, *bucket.other_collateral])
        worst = sum(self._worst[row] for row in rows)
        margin = self._preset.margin
        market = bucket.cash + value + sum(self._option_value[row] for row in rows)
        contingency = sum(self._maintenance[row] for row in rows)
        initial_contingency = contingency + sum(self._initial[row] for row in rows)
        equity = _down(market - haircut)
        maintenance_excess = _down(market + worst * margin.mm_factor - contingency - haircut)
        initial_excess = _down(market + worst * margin.im_factor - initial_contingency - initial_haircut)
        return PortfolioResult(
            equity=equity,
            initial_margin=equity - initial_excess,
            maintenance_margin=equity - maintenance_excess,
            maintenance_excess=maintenance_excess,
            initial_excess=initial_excess,
            worst_scenario=self._bucket_worst_id(bucket, first),
            greeks={item.name: self._greeks[row] for item, row in zip(bucket.underlyings, rows, strict=True)},
        )

    def _bucket_worst_id(self, bucket: Bucket, first: int) -> str | None:
        losing = [
            (self._worst[first + index], index, scenario)
            for index in range(len(bucket.underlyings))
            if (scenario := self._worst_id[first + index]) is not None
        ]
        if not losing:
            return None
        _, index, scenario = min(losing)
        return scenario if len(bucket.underlyings) == 1 else f"{bucket.underlyings[index].name}/{scenario}"


def _worst(preset: Preset, table: Table) -> tuple[list[float], list[str | None]]:
    """Per underlying the worst PnL, never above zero, and the scenario it belongs to.

    Compared at 1e-8, so that the last bits of equal losses do not choose the name.
    """
    everything = np.concatenate([table.basis[:, None], table.pnl], axis=1)
    rounded = np.rint(everything * _QUANTA)
    index = rounded.argmin(axis=1)
    ids = [BASIS_ID, *(scenario.id for scenario in preset.scenarios)]
    loses = np.take_along_axis(rounded, index[:, None], axis=1)[:, 0] < 0.0
    worst = np.minimum(everything.min(axis=1), 0.0).tolist()
    return worst, [ids[i] if losing else None for i, losing in zip(index.tolist(), loses.tolist(), strict=True)]


def _per_underlying(columns: Columns, per_option: Floats) -> Floats:
    """Sum of a column of the options over each underlying: first over each expiry, then over the expiries."""
    total = np.zeros(len(columns.underlyings.spot))
    if len(per_option):
        np.add.at(total, columns.expiries.underlying, np.add.reduceat(per_option, columns.expiries.first))
    return total


def _option_values(columns: Columns, table: Table) -> list[float]:
    """Market value of the options of each underlying: their published premium, or the model's where there is none."""
    mark = np.where(np.isnan(columns.options.mark), table.base_price, columns.options.mark)
    values: list[float] = _per_underlying(columns, mark * columns.options.amount).tolist()
    return values


def _contingencies(preset: Preset, columns: Columns) -> tuple[list[float], list[float]]:
    """Per underlying what maintenance requires beside scenarios and haircuts, and what initial margin adds on top."""
    other, underlyings = preset.other_contingency, columns.underlyings
    naked = np.zeros(len(underlyings.spot))
    np.add.at(naked, columns.expiries.underlying, columns.expiries.naked_shorts)
    perpetuals = underlyings.perpetuals * underlyings.spot
    shorts = naked * underlyings.spot
    maintenance: list[float] = (perpetuals * other.mm_perp_percent + shorts * other.mm_option_percent).tolist()
    initial: list[float] = (perpetuals * other.im_perp_percent + shorts * other.im_option_percent).tolist()
    return maintenance, initial


def _net_greeks(columns: Columns, terms: Terms, table: Table) -> list[Greeks]:
    options, expiries = columns.options, columns.expiries
    row = options.expiry
    each = black76.greeks(
        sign=options.sign,
        volatility=options.volatility,
        years=expiries.years[row],
        forward=expiries.forward[row],
        log_moneyness=options.log_moneyness,
        rate=expiries.rate[row],
        discount=terms.discount[row],
        premium=table.base_price,
    )
    moving = expiries.moving[row]  # in the settlement window only a part of the forward still follows the price
    net = [
        columns.underlyings.delta + _per_underlying(columns, each.delta * moving * options.amount),
        _per_underlying(columns, each.gamma * moving * moving * options.amount),
        _per_underlying(columns, each.vega * options.amount),
        _per_underlying(columns, each.theta * options.amount),
    ]
    return [
        Greeks(delta=_nearest(delta), gamma=_nearest(gamma), vega=_nearest(vega), theta=_nearest(theta))
        for delta, gamma, vega, theta in zip(*(column.tolist() for column in net), strict=True)
    ]


def _down(value: float) -> int:
    """The largest multiple of 1e-8 that is not above `value`, in units of 1e-18.

    A value that is below a multiple by no more than double precision loses in a sum is that multiple: 100 - 0.3 - 99.7
    is 0 and not -1e-8.
    """
    numerator, denominator = (value + max(abs(value) * _RELATIVE_NOISE, _ABSOLUTE_NOISE)).as_integer_ratio()
    return (numerator * _QUANTA // denominator) * (_ONE // _QUANTA)


def _nearest(value: float) -> int:
    """The multiple of 1e-12 that is nearest to `value`, the higher of two, in units of 1e-18."""
    numerator, denominator = value.as_integer_ratio()
    return ((2 * numerator * _GREEK_QUANTA + denominator) // (2 * denominator)) * (_ONE // _GREEK_QUANTA)
