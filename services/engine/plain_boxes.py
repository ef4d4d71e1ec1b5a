"""The box of one plain bucket, by itself: `bulk_boxes.py` for what was just touched, in a few microseconds.

Plain is what it is there. Where a box is accepted, or the one that the bucket has is found to hold still, the bounds have proven
that at the present marks too its status stays and it is not liquidatable: nobody has to value it. What is proven in bounds.md holds
here: the sums are the same sums. Whatever is not plain, or not accepted, is for the exact way.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Final, NamedTuple, get_args

from services.contracts.messages import MarginMode, Segregation
from services.engine.bounds import CLOSEST, ERROR, HALVINGS, NARROWEST_SHARE, SKEW, WIDEST_SHARE, Interval
from services.engine.context import Context
from services.engine.settings import Rungs
from services.engine.state import Account, Bucket
from services.engine.terms import Slab, Term, Terms
from services.engine.worth import E18_FLOAT

Box = dict[str, Interval]
NO_END: Final = float("inf")


class Limits(NamedTuple):
    """Between which multiples of the requirements an equity keeps a status."""

    maintenance: float  # more than so many maintenance margins
    initial: float  # and so many initial margins
    ceiling: float  # and less than so many
    of_initial: bool  # initial margins, else maintenance margins


class Held(NamedTuple):
    """A plain bucket as floats; a line is a term, a signed size, and the present mark."""

    cash: float
    lines: dict[str, tuple[Term, float, float]]
    limits: Limits


class PlainBoxes:
    """Finds boxes at the marks of the moment. Of no use to an engine with a gap guard, or one that watches for new lows."""

    def __init__(self, context: Context, terms: Terms) -> None:
        self._marks = context.market.marks
        self._terms = terms
        self._limits: dict[tuple[str, str, str], Limits] = {}
        for kind in product(get_args(Segregation), get_args(MarginMode)):
            if kind[1] != "portfolio":
                rungs = context.settings.rungs(*kind)
                self._limits |= {(*kind, status): limits for status, limits in _limits_of(rungs)}

    def held(self, account: Account, bucket: Bucket) -> Held | None:
        """The bucket, if it is plain and nothing but its numbers makes its status."""
        if bucket.orders or bucket.doubts or bucket.tries or bucket.defaulted or account.parked or not account.known:
            return None
        asset, balances = account.valuation_asset, bucket.balances
        limits = self._limits.get((account.segregation, account.margin_mode, bucket.status))
        if asset is None or limits is None or len(balances) > (asset in balances):
            return None
        if not bucket.positions or not self._terms.counts_in_full(asset):
            return None
        lines = {}
        for (instrument, _), position in bucket.positions.items():
            term, mark = self._terms.of(instrument), self._marks.get(instrument)
            if term is None or not mark or term.asset != asset:
                return None
            lines[instrument] = term, position.quantity / E18_FLOAT * term.size, mark / E18_FLOAT
        if len(lines) != len(bucket.positions):
            return None  # two legs of one instrument: its price hurts both ways
        return Held(balances.get(asset, 0) / E18_FLOAT, lines, limits)

    @staticmethod
    def stays_in(held: Held, box: Mapping[str, Interval]) -> bool:
        """Whether the bucket keeps its status, and is not liquidatable, in all of the box; and the marks stand in it."""
        if len(box) != len(held.lines):
            return False
        for instrument, (_, _, mark) in held.lines.items():
            low, high = box.get(instrument, (0.0, 0.0))
            if not low < mark < high:
                return False
        return _holds(held, box)

    @staticmethod
    def box(held: Held) -> Box | None:
        """The widest box found in which it does; None if there is none worth keeping."""
        widest = max(term.sigma for term, _, _ in held.lines.values())
        down, up = _reach(held, widest)
        for _ in range(HALVINGS):
            if min(down, up) * widest < NARROWEST_SHARE:
                return None
            box = _box_of(held, down, up)
            if _holds(held, box):
                return box
            down = down / 2
            up = min(up, down)
        return None


def _limits_of(rungs: Rungs) -> Iterable[tuple[str, Limits]]:
    """By status, as the steps of `Certificates._holds` go: a bucket stays out of every worse rung, and below where it would leave its own."""
    warning, call = _over(rungs.warning_buffer), _over(rungs.margin_call_buffer)
    reduce, hysteresis = _over(rungs.reduce_only_buffer), rungs.rung_hysteresis / E18_FLOAT
    return (
        ("healthy", Limits(max(1.0, reduce), max(warning, call), NO_END, of_initial=True)),
        ("warning", Limits(max(1.0, reduce), call, warning + hysteresis, of_initial=True)),
        ("margin_call", Limits(max(1.0, reduce), 0.0, call + hysteresis, of_initial=True)),
        ("reduce_only", Limits(1.0, 0.0, reduce + hysteresis, of_initial=False)),
    )


def _over(buffer: int) -> float:
    return 1.0 + buffer / E18_FLOAT


def _sums(held: Held, box: Mapping[str, Interval]) -> tuple[float, float, float, float, float, float, float]:
    """Lower and upper bounds of equity, maintenance and initial margin over the box, and the magnitude of their terms."""
    equity_low = equity_high = held.cash
    maintenance_low = maintenance_high = initial_low = initial_high = 0.0
    magnitude = abs(held.cash)
    for instrument, (term, size, _) in held.lines.items():
        low, high = box[instrument]
        if size >= 0:
            first, last = size * low, size * high
            equity_low += first
            equity_high += last
        else:
            first, last = -size * low, -size * high
            equity_low -= last
            equity_high -= first
        least, most, least_initial, most_initial = _tiered(term.slabs, first, last)
        maintenance_low += least
        maintenance_high += most
        initial_low += least_initial
        initial_high += most_initial
        magnitude += last * term.weight
    return equity_low, equity_high, maintenance_low, maintenance_high, initial_low, initial_high, magnitude


def _tiered(slabs: tuple[Slab, ...], low: float, high: float) -> tuple[float, float, float, float]:
    """As `bounds._tiered`, of both requirements: the ends of every tier that the notional reaches."""
    least = least_initial = float("inf")
    most = most_initial = float("-inf")
    for first, last, maintenance, off, initial, initial_off in slabs:
        if high < first:
            break
        if low > last:
            continue
        begin, end = max(low, first), min(high, last)
        least, most = min(least, maintenance * begin - off), max(most, maintenance * end - off)
        least_initial = min(least_initial, initial * begin - initial_off)
        most_initial = max(most_initial, initial * end - initial_off)
    return least, most, least_initial, most_initial


def _holds(held: Held, box: Mapping[str, Interval]) -> bool:
    """Whether, anywhere in the box, the bucket keeps its status and is not liquidatable."""
    equity, highest, maintenance_low, maintenance, initial_low, initial, magnitude = _sums(held, box)
    limits, error = held.limits, 4 * ERROR * magnitude  # of the equity, and of what it is held against
    equity -= error
    if equity <= 0 or equity <= maintenance * limits.maintenance or equity <= initial * limits.initial:
        return False
    if limits.ceiling == NO_END:
        return True
    return highest + error < (initial_low if limits.of_initial else maintenance_low) * limits.ceiling


def _reach(held: Held, widest: float) -> tuple[float, float]:
    """How many sigmas toward where it hurts, and the other way, until the first threshold: as `Certificates._reach`."""
    lines, limits = held.lines, held.limits
    now = {instrument: (mark, mark) for instrument, (_, _, mark) in lines.items()}
    equity, _, maintenance, _, initial, _, _ = _sums(held, now)
    moves = max(widest, sum(abs(size) * mark * term.sigma for term, size, mark in lines.values()))
    down = CLOSEST * equity / moves
    for floor in (maintenance * limits.maintenance, initial * limits.initial):
        down = min(down, CLOSEST * (equity - floor) / (moves + SKEW * abs(floor) * widest))
    up = SKEW * down
    if limits.ceiling < NO_END:
        ceiling = (initial if limits.of_initial else maintenance) * limits.ceiling
        reach = CLOSEST * (ceiling - equity) / (moves + SKEW * abs(ceiling) * widest)
        down = min(down, SKEW * reach)
        up = min(reach, SKEW * down)
    return down, up


def _box_of(held: Held, down: float, up: float) -> Box:
    """Every price `down` of its sigmas toward where it hurts, `up` the other way."""
    box = {}
    for instrument, (term, size, mark) in held.lines.items():
        hurt, help_ = min(WIDEST_SHARE, down * term.sigma), min(WIDEST_SHARE, up * term.sigma)
        low, high = (help_, hurt) if size < 0 else (hurt, help_)
        box[instrument] = mark * (1 - low), mark * (1 + high)
    return box
