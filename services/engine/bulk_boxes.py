"""Boxes for many buckets at once: `certificates.py`, column by column, for the plain ones.

Plain is what most buckets are: positions in linear contracts that settle in the valuation asset, one leg an instrument, and cash in
that asset alone, counted in full. Then equity = cash + Σ size·mark, which has no price but the marks and no weight to bend it. The
proposal and the bounds are those of `Certificates._reach` and `Certificates._holds`; a bucket for which no box is accepted here, or
that is not plain, is drawn alone. What is proven there (bounds.md beside this file) holds here: the sums are the same sums.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services.contracts.messages import MarginMode, Segregation
from services.engine.bounds import CLOSEST, EDGE, ERROR, HALVINGS, NARROWEST_SHARE, SKEW, WIDEST_SHARE
from services.engine.context import Context
from services.engine.resting import Resting
from services.engine.rows import BucketRow
from services.engine.terms import Slab, Term, Terms
from services.engine.watch import EquityWatch
from services.engine.worth import E18_FLOAT

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
AT_ONCE: Final = 8_192  # accounts
RUNGS: Final = ("healthy", "warning", "margin_call", "reduce_only")  # better first; other statuses are not plain


class Edges(Struct, frozen=True):
    """Accepted boxes on one price."""

    price_id: str
    lows: Floats
    highs: Floats
    numbers: NDArray[np.int32]


class Drawn(Struct, frozen=True):
    """What came of a drawing. `refused`: numbers that must be looked at one by one."""

    edges: list[Edges]
    accepted: list[int]
    refused: list[int]


class Columns:
    """Plain buckets and their positions, side by side; positions in the order of their instruments once `closed`."""

    def __init__(self) -> None:
        self.owners: list[int] = []
        self.cash: list[float] = []
        self.status: list[int] = []
        self.ladder: list[tuple[Segregation, MarginMode]] = []
        self.of: list[int] = []  # position -> bucket
        self.instruments: list[int] = []
        self.sizes: list[float] = []

    def __len__(self) -> int:
        return len(self.owners)


class BulkBoxes:
    """Draws what can be drawn without an object for each bucket."""

    def __init__(self, context: Context, watch: EquityWatch | None, terms: Terms) -> None:
        self._context = context
        self._watch = watch
        self._terms = terms

    def draw(self, resting: Iterable[tuple[int, Resting]]) -> Iterator[Drawn]:
        """Boxes at the marks of the moment, for accounts by their numbers; so many at once that memory does not feel it."""
        accounts = iter(resting)
        while part := list(islice(accounts, AT_ONCE)):
            yield self._draw(part)

    def _draw(self, resting: Sequence[tuple[int, Resting]]) -> Drawn:
        columns, met = Columns(), _Met(self._terms, self._context)
        refused: set[int] = set()
        may = self._context.settings.gap_guard == "off"
        for number, account in resting:
            if not (may and all(_enter(columns, met, number, account, row) for row in account.buckets.values())):
                refused.add(number)
        edges: list[Edges] = []
        if len(columns):
            drawing = _Drawing(columns, met, self._context, self._watch)
            accepted, lows, highs = drawing.run()
            refused |= {columns.owners[bucket] for bucket in np.flatnonzero(~accepted).tolist()}
            edges = drawing.edges(lows, highs, refused)
        return Drawn(edges, [number for number, _ in resting if number not in refused], sorted(refused))


class _Met:
    """Instruments by a number of their own, as far as they are met; None for those that are not plain or have no mark."""

    def __init__(self, terms: Terms, context: Context) -> None:
        self._compiled = terms
        self._market = context.market
        self._known: dict[str, int | None] = {}
        self.names: list[str] = []
        self.terms: list[Term] = []
        self.marks: list[float] = []
        self._plain_assets: dict[str, bool] = {}

    def index(self, instrument: str) -> int | None:
        if instrument not in self._known:
            self._known[instrument] = self._enter(instrument)
        return self._known[instrument]

    def is_plain(self, asset: str) -> bool:
        found = self._plain_assets.get(asset)
        if found is None:
            found = self._plain_assets[asset] = self._compiled.counts_in_full(asset)
        return found

    def _enter(self, instrument: str) -> int | None:
        term, mark = self._compiled.of(instrument), self._market.marks.get(instrument)
        if term is None or not mark:
            return None
        self.names.append(instrument)
        self.terms.append(term)
        self.marks.append(mark / E18_FLOAT)
        return len(self.terms) - 1


def _enter(columns: Columns, met: _Met, number: int, account: Resting, row: BucketRow) -> bool:
    """Put a bucket into the columns; False if it is not plain."""
    owner = account.account
    asset = owner.valuation_asset
    if asset is None or owner.margin_mode == "portfolio" or not met.is_plain(asset):
        return False
    if any(held != asset for held in row.balances):
        return False
    if not row.positions:
        return is_settled(row)
    if row.status not in RUNGS:
        return False
    if len({key.rpartition("|")[0] for key in row.positions}) != len(row.positions):
        return False  # two legs of one instrument: its price hurts both ways
    bucket = len(columns)
    found: list[tuple[int, float]] = []
    for key, (quantity, _) in row.positions.items():
        index = met.index(key.rpartition("|")[0])
        if index is None or met.terms[index].asset != asset:
            return False
        found.append((index, float(quantity) * met.terms[index].size))
    columns.owners.append(number)
    columns.cash.append(float(row.balances.get(asset, "0")))
    columns.status.append(RUNGS.index(row.status))
    columns.ladder.append((owner.segregation, owner.margin_mode))  # type: ignore[arg-type]  # both were checked when they were read
    for index, size in found:
        columns.of.append(bucket)
        columns.instruments.append(index)
        columns.sizes.append(size)
    return True


def is_settled(row: BucketRow) -> bool:
    """Whether a bucket of cash alone, or of nothing, has the status that it will keep: no price moves it."""
    expected = "healthy" if row.balances or row.locked else "closed"
    return row.status == expected and not any(amount.startswith("-") for amount in row.balances.values())


class _Bounded(Struct, frozen=True):
    """Bounds of equity and requirements of every bucket over its box, and the slack that rounding may eat."""

    equity: tuple[Floats, Floats]
    maintenance: tuple[Floats, Floats]
    initial: tuple[Floats, Floats]
    error: Floats


class _Drawing:
    """One pass over the columns."""

    def __init__(self, columns: Columns, met: _Met, context: Context, watch: EquityWatch | None) -> None:
        self._settings = context.settings
        self._lowest = None if watch is None or watch.lowest_e18 is None else watch.lowest_e18 / E18_FLOAT
        self._met = met
        order = np.argsort(np.array(columns.instruments), kind="stable")
        self._instruments: Indices = np.array(columns.instruments)[order]
        self._of: Indices = np.array(columns.of)[order]
        self._sizes: Floats = np.array(columns.sizes)[order]
        self._owners = np.array(columns.owners, dtype=np.int32)
        self._cash: Floats = np.array(columns.cash)
        self._status: Indices = np.array(columns.status)
        each = met.terms
        self._marks = np.array(met.marks)[self._instruments]
        self._sigmas = np.array([term.sigma for term in each])[self._instruments]
        cuts = np.searchsorted(self._instruments, np.arange(len(each) + 1))
        self._slices = [slice(int(a), int(b)) for a, b in pairwise(cuts)]
        self._buffers = self._rung_buffers(columns.ladder)

    def _rung_buffers(self, ladder: Sequence[tuple[Segregation, MarginMode]]) -> dict[str, Floats]:
        kinds = sorted(set(ladder))
        rungs = [self._settings.rungs(*kind) for kind in kinds]
        of = np.array([kinds.index(kind) for kind in ladder])
        names = ("warning_buffer", "margin_call_buffer", "reduce_only_buffer", "rung_hysteresis")
        return {name: np.array([getattr(each, name) / E18_FLOAT for each in rungs])[of] for name in names}

    def run(self) -> tuple[Flags, Floats, Floats]:
        """Which buckets have a box, and the edges of it for every position."""
        down, up = self._reach()
        widest = np.zeros(len(self._cash))
        np.maximum.at(widest, self._of, self._sigmas)
        accepted = np.zeros(len(self._cash), dtype=bool)
        lows, highs = self._marks.copy(), self._marks.copy()
        for _ in range(HALVINGS):
            wide = np.minimum(down, up) * widest >= NARROWEST_SHARE
            low, high = self._box(down, up)
            fresh = wide & ~accepted & self._holds(self._over(low, high))
            chosen = fresh[self._of]
            lows[chosen], highs[chosen] = low[chosen], high[chosen]
            accepted |= fresh
            if accepted[wide].all():
                break
            down = down / 2
            up = np.minimum(up, down)
        return accepted, lows, highs

    def edges(self, lows: Floats, highs: Floats, refused: set[int]) -> list[Edges]:
        """The accepted boxes by price, without those of accounts that were refused."""
        owners = self._owners[self._of]
        kept = ~np.isin(owners, np.array(sorted(refused), dtype=np.int32))
        found = []
        for index, part in enumerate(self._slices):
            chosen = kept[part]
            if chosen.any():
                edges = Edges(
                    self._met.names[index], lows[part][chosen] * (1 + EDGE), highs[part][chosen] * (1 - EDGE), owners[part][chosen],
                )  # fmt: skip
                found.append(edges)
        return found

    def _total(self, each: Floats) -> Floats:
        """Sums over the positions of each bucket."""
        return np.bincount(self._of, weights=each, minlength=len(self._cash)).astype(np.float64, copy=False)

    def _box(self, down: Floats, up: Floats) -> tuple[Floats, Floats]:
        hurt = np.minimum(WIDEST_SHARE, down[self._of] * self._sigmas)
        help_ = np.minimum(WIDEST_SHARE, up[self._of] * self._sigmas)
        long = self._sizes > 0
        low, high = np.where(long, hurt, help_), np.where(long, help_, hurt)
        return self._marks * (1 - low), self._marks * (1 + high)

    def _reach(self) -> tuple[Floats, Floats]:
        """As `Certificates._reach`, of every bucket at once."""
        at = self._over(self._marks, self._marks)
        equity, maintenance, initial = at.equity[0], at.maintenance[1], at.initial[1]
        moves = self._total(np.abs(self._sizes) * self._marks * self._sigmas)
        widest = np.zeros(len(self._cash))
        np.maximum.at(widest, self._of, self._sigmas)

        def sigmas_to(slack: Floats, threshold: Floats) -> Floats:
            return CLOSEST * np.maximum(0.0, slack) / (np.maximum(moves, widest) + SKEW * np.abs(threshold) * widest)

        down = np.minimum(sigmas_to(equity, np.zeros_like(equity)), sigmas_to(equity - maintenance, maintenance))
        if self._lowest is not None:
            lowest = np.full_like(equity, self._lowest)
            down = np.minimum(down, sigmas_to(equity - lowest, lowest))
        up = np.full_like(equity, np.inf)
        for rung, buffer, requirement in self._steps(maintenance, initial):
            floor = requirement * (1 + self._buffers[buffer])
            down = np.where(self._status < rung, np.minimum(down, sigmas_to(equity - floor, floor)), down)
            ceiling = requirement * (1 + self._buffers[buffer] + self._buffers["rung_hysteresis"])
            up = np.where(self._status == rung, sigmas_to(ceiling - equity, ceiling), up)
        down = np.minimum(down, SKEW * up)
        return down, np.minimum(up, SKEW * down)

    @staticmethod
    def _steps(maintenance: Floats, initial: Floats) -> tuple[tuple[int, str, Floats], ...]:
        """Place in `RUNGS`, name of the buffer, and what the threshold is a multiple of."""
        return (
            (1, "warning_buffer", initial),
            (2, "margin_call_buffer", initial),
            (3, "reduce_only_buffer", maintenance),
        )

    def _holds(self, bounds: _Bounded) -> Flags:
        """As `Certificates._holds`, of every bucket at once."""
        error = bounds.error
        equity, highest = bounds.equity[0] - error, bounds.equity[1] + error
        found = (equity > bounds.maintenance[1]) & (equity >= 0)
        if self._lowest is not None:
            found &= equity >= self._lowest
        lows = self._steps(bounds.maintenance[0], bounds.initial[0])
        highs = self._steps(bounds.maintenance[1], bounds.initial[1])
        for (rung, buffer, least), (_, _, most) in zip(lows, highs, strict=True):
            over = 1 + self._buffers[buffer]
            found &= (self._status >= rung) | (equity >= most * over + error)
            held = highest < least * (over + self._buffers["rung_hysteresis"]) - error
            found &= (self._status != rung) | held
        return found

    def _over(self, low: Floats, high: Floats) -> _Bounded:
        """Bounds while every mark stays within its edges."""
        first, last = self._sizes * low, self._sizes * high
        size = np.abs(self._sizes)
        maintenance, initial = self._requirements(size * low, size * high)
        magnitude = np.abs(self._cash) + self._total(size * high * self._weights())
        return _Bounded(
            (self._cash + self._total(np.minimum(first, last)), self._cash + self._total(np.maximum(first, last))),
            (self._total(maintenance[0]), self._total(maintenance[1])),
            (self._total(initial[0]), self._total(initial[1])),
            2 * ERROR * magnitude,
        )  # fmt: skip

    def _weights(self) -> Floats:
        return np.array([term.weight for term in self._met.terms])[self._instruments]

    def _requirements(self, low: Floats, high: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Bounds of each position's maintenance and initial margin while its notional stays between `low` and `high`."""
        maintenance, initial = (np.empty_like(low), np.empty_like(low)), (np.empty_like(low), np.empty_like(low))
        for term, part in zip(self._met.terms, self._slices, strict=True):
            for found, is_initial in ((maintenance, False), (initial, True)):
                found[0][part], found[1][part] = _tiered(term.slabs, low[part], high[part], initial=is_initial)
        return maintenance, initial


def _tiered(slabs: Sequence[Slab], low: Floats, high: Floats, *, initial: bool) -> tuple[Floats, Floats]:
    """As `bounds._tiered`, of many notionals at once."""
    least, most = np.full_like(low, np.inf), np.full_like(low, -np.inf)
    for slab in slabs:
        first, last = np.maximum(low, slab.first), np.minimum(high, slab.last)
        reached = first <= last
        slope = slab.initial if initial else slab.maintenance
        constant = slab.initial_off if initial else slab.maintenance_off
        least = np.where(reached, np.minimum(least, slope * first - constant), least)
        most = np.where(reached, np.maximum(most, slope * last - constant), most)
    return least, most
