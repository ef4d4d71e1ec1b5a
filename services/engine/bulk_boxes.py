"""Boxes for many buckets at once: `certificates.py`, column by column, for the plain ones (`plain.py`).

Of these equity = cash + Σ size·mark, which has no price but the marks and no weight to bend it. The proposal and the bounds are those
of `Certificates._reach` and `Certificates._holds`; a bucket for which no box is accepted here, or that is not plain, is drawn alone.
What is proven there (bounds.md beside this file) holds here: the sums are the same sums.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services.engine.bounds import CLOSEST, EDGE, ERROR, HALVINGS, NARROWEST_SHARE, SKEW, WIDEST_SHARE
from services.engine.columns import Columns, Flags, Floats
from services.engine.context import Context
from services.engine.plain import Plain
from services.engine.slab_columns import Bounded, SlabColumns
from services.engine.terms import Terms
from services.engine.watch import EquityWatch
from services.engine.worth import E18_FLOAT

AT_ONCE: Final = 4_096  # accounts
BUFFERS: Final = ("warning_buffer", "margin_call_buffer", "reduce_only_buffer", "rung_hysteresis")
NOBODY: Final = np.int32(-1)
Numbers = NDArray[np.int32]


class Edges(Struct, frozen=True):
    """Accepted boxes on one price."""

    price_id: str
    lows: Floats
    highs: Floats
    numbers: Numbers


class Drawn(Struct, frozen=True):
    """What came of a drawing. `refused`: numbers that must be looked at one by one."""

    edges: list[Edges]
    accepted: list[int]
    refused: list[int]


class BulkBoxes:
    """Draws what can be drawn without an object for each bucket; at most `AT_ONCE` accounts at once, that memory does not feel it."""

    def __init__(self, context: Context, watch: EquityWatch | None, terms: Terms) -> None:
        self._context = context
        self._watch = watch
        self._terms = terms

    def draw(self, numbers: Sequence[int], columns: Columns) -> Drawn:
        """Boxes at the marks of the moment, for accounts by their numbers."""
        owners: Numbers = np.array(numbers, dtype=np.int32)
        plain = Plain(columns, self._context, self._terms)
        may, edges = plain.may, list[Edges]()
        if len(plain.cash):
            drawing = _Drawing(plain, self._context, self._watch)
            accepted, lows, highs = drawing.run()
            may[plain.owners[~accepted]] = False
            edges = drawing.edges(lows, highs, np.where(may, owners, NOBODY)[plain.owners])
        return Drawn(edges, owners[may].tolist(), np.sort(owners[~may]).tolist())


class _Bounds(Struct, frozen=True):
    """Bounds of equity and requirements of every bucket over its box, and the slack that rounding may eat."""

    equity: Bounded
    maintenance: Bounded
    initial: Bounded
    error: Floats


class _Drawing:
    """One pass over the columns."""

    def __init__(self, plain: Plain, context: Context, watch: EquityWatch | None) -> None:
        self._lowest = None if watch is None or watch.lowest_e18 is None else watch.lowest_e18 / E18_FLOAT
        self._plain = plain
        self._of, self._sizes = plain.of, plain.sizes
        self._cash, self._status = plain.cash, plain.status
        self._marks = plain.by_position([each.mark for each in plain.met])
        self._sigmas = plain.by_position([each.term.sigma for each in plain.met])
        self._weights = plain.by_position([each.term.weight for each in plain.met])
        self._slabs = SlabColumns([each.term.slabs for each in plain.met], plain.instruments)
        self._widest = np.zeros(len(self._cash))  # sigma of a bucket's prices
        np.maximum.at(self._widest, self._of, self._sigmas)
        rungs = [context.settings.rungs(kind.segregation, kind.margin_mode) for kind in plain.kinds]
        self._buffers = {
            name: np.array([getattr(each, name) / E18_FLOAT for each in rungs])[plain.kind] for name in BUFFERS
        }

    def run(self) -> tuple[Flags, Floats, Floats]:
        """Which buckets have a box, and the edges of it for every position."""
        down, up = self._reach()
        accepted = np.zeros(len(self._cash), dtype=bool)
        lows, highs = self._marks.copy(), self._marks.copy()
        for _ in range(HALVINGS):
            wide = np.minimum(down, up) * self._widest >= NARROWEST_SHARE
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

    def edges(self, lows: Floats, highs: Floats, owners: Numbers) -> list[Edges]:
        """The boxes by price; those of owners below 0 are left out."""
        numbers, found = owners[self._of], []
        cuts = np.searchsorted(self._plain.instruments, np.arange(len(self._plain.met) + 1)).tolist()
        for met, part in zip(self._plain.met, (slice(*cut) for cut in pairwise(cuts)), strict=True):
            chosen = numbers[part] >= 0
            if chosen.any():
                low, high = lows[part][chosen] * (1 + EDGE), highs[part][chosen] * (1 - EDGE)
                found.append(Edges(met.instrument, low, high, numbers[part][chosen]))
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

        def sigmas_to(slack: Floats, threshold: Floats) -> Floats:
            pace = np.maximum(moves, self._widest) + SKEW * np.abs(threshold) * self._widest
            return CLOSEST * np.maximum(0.0, slack) / pace

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

    def _holds(self, bounds: _Bounds) -> Flags:
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

    def _over(self, low: Floats, high: Floats) -> _Bounds:
        """Bounds while every mark stays within its edges."""
        first, last = self._sizes * low, self._sizes * high
        size = np.abs(self._sizes)
        maintenance, initial = self._slabs.requirements(size * low, size * high)
        magnitude = np.abs(self._cash) + self._total(size * high * self._weights)
        return _Bounds(
            (self._cash + self._total(np.minimum(first, last)), self._cash + self._total(np.maximum(first, last))),
            (self._total(maintenance[0]), self._total(maintenance[1])),
            (self._total(initial[0]), self._total(initial[1])),
            2 * ERROR * magnitude,
        )  # fmt: skip
