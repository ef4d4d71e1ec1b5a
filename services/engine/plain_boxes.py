"""The box of one plain bucket, by itself: `bulk_boxes.py` for what was just touched, in a few microseconds.

Plain is what it is there. Where a box is accepted, or the one that the bucket has is found to hold still, the bounds have proven
that at the present marks too its status stays and it is not liquidatable: nobody has to value it. What is proven in bounds.md holds
here: the sums are the same sums. Whatever is not plain, or not accepted, is for the exact way.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final, NamedTuple, get_args

from msgspec import Struct

from services.contracts.messages import MarginMode, Segregation
from services.engine.bounds import CLOSEST, ERROR, HALVINGS, NARROWEST_SHARE, SKEW, WIDEST_SHARE, Interval
from services.engine.columns import is_settled
from services.engine.context import Context
from services.engine.glance import AccountGlance, BucketGlance, Glance
from services.engine.ledger import Traded
from services.engine.settings import Rungs
from services.engine.state import Account, Bucket
from services.engine.terms import NO_END, Slab, Term, Terms
from services.engine.watch import EquityWatch
from services.engine.worth import E18_FLOAT

Box = dict[str, Interval]
# Lower and upper bounds of equity, maintenance and initial margin, and the magnitude of their terms.
Sums = tuple[float, float, float, float, float, float, float]
Line = tuple[Term, float, float, float]  # of a position: its instrument, its signed size, between which prices
ROOM: Final = 0.75  # of the way: a box that leaves the next fills some room, of a bucket that trades
# So many go into the bounds of a box one after the other before they are added up whole: each rounds a little.
MOST_FILLS: Final = 4_096


class Limits(NamedTuple):
    """Between which multiples of the requirements an equity keeps a status."""

    maintenance: float  # more than so many maintenance margins
    initial: float  # and so many initial margins
    ceiling: float  # and less than so many
    of_initial: bool  # initial margins, else maintenance margins


class Stay(Struct):
    """A plain bucket in its box, where it was shown to keep its status: what its bounds over the box add up to.

    `peak` is the largest magnitude since they were added up whole, `fills` how many went into them since.
    """

    box: Box
    limits: Limits
    sums: Sums
    peak: float
    fills: int = 0


class Held(NamedTuple):
    """A plain bucket as floats: its cash, and of each instrument the term, the signed size and the present mark."""

    cash: float
    positions: dict[str, tuple[Term, float, float]]
    limits: Limits


class PlainBoxes:
    """Finds boxes at the marks of the moment. Of no use to an engine with a gap guard."""

    def __init__(self, context: Context, watch: EquityWatch | None, terms: Terms) -> None:
        self._watch = watch
        self._marks = context.market.marks
        self._terms = terms
        self._limits: dict[tuple[str, str, str], Limits] = {}
        for kind in product(get_args(Segregation), get_args(MarginMode)):
            if kind[1] != "portfolio":
                rungs = context.settings.rungs(*kind)
                self._limits |= {(*kind, status): limits for status, limits in _limits_of(rungs)}

    def held(self, account: Account, bucket: Bucket) -> Held | None:
        """The bucket, if it is plain and nothing but its numbers makes its status."""
        if not _is_alone(account, bucket):
            return None
        cash = bucket.balances.get(account.valuation_asset or "", 0) / E18_FLOAT
        positions = [(key[0], each.quantity / E18_FLOAT) for key, each in bucket.positions.items()]
        return self._held(account, bucket, cash, positions)

    def draw(self, held: Held, share: float = CLOSEST) -> Stay | None:
        """A box in which the bucket keeps its status, and is not liquidatable, that goes a share of the way to where it would not.

        None if there is none worth keeping.
        """
        floor = self._floor()
        down, up, widest = _reach(held, floor, share)
        for _ in range(HALVINGS):
            if min(down, up) * widest < NARROWEST_SHARE:
                return None
            lines = _lines(held, down, up)
            sums = _sums(held.cash, lines)
            if _holds(sums, sums[6], held.limits, floor):
                box = {name: (low, high) for name, (_, _, low, high) in zip(held.positions, lines, strict=True)}
                return Stay(box, held.limits, sums, sums[6])
            down = down / 2
            up = min(up, down)
        return None

    def stay(self, account: Account, bucket: Bucket, box: Box) -> Stay | None:
        """The bucket as it is now, if it does so in all of a box that was drawn for it before; and the marks stand in it."""
        held = self.held(account, bucket)
        if held is None or len(held.positions) != len(box):
            return None
        lines = []
        for instrument, (term, size, mark) in held.positions.items():
            low, high = box.get(instrument, (0.0, 0.0))
            if not low < mark < high:
                return None
            lines.append((term, size, low, high))
        sums = _sums(held.cash, lines)
        if not _holds(sums, sums[6], held.limits, self._floor()):
            return None
        return Stay(box, held.limits, sums, sums[6])

    def absorbs(self, stay: Stay, execution: Traded, before: int) -> bool:
        """Whether a bucket that holds `before` of an instrument stays in its box with a fill of it; then the fill is added to its bounds.

        The fee is paid in the asset that the fill settles in. Nothing else of the bucket may have changed since it was shown to stay.
        """
        instrument, cash = execution.key[0], (execution.cash - execution.fee) / E18_FLOAT
        term, edges = self._terms.of(instrument), stay.box.get(instrument)
        if term is None or edges is None or stay.fills >= MOST_FILLS:
            return False
        unit = term.size / E18_FLOAT
        past = _bounds(term, before * unit, *edges)
        coming = _bounds(term, (before + execution.quantity) * unit, *edges)
        sums = _moved(stay.sums, past, coming, cash)
        peak = max(stay.peak, sums[6])
        if not _holds(sums, peak, stay.limits, 0.0):
            return False
        stay.sums, stay.peak, stay.fills = sums, peak, stay.fills + 1
        return True

    def at_rest(self, seen: Glance) -> list[Box] | None:
        """Boxes for every bucket of an account at rest that a price can move; None if one of them has none."""
        owner, found = seen.account, []
        for row in seen.buckets.values():
            if not row.positions:
                if not self._is_cash(owner, row):
                    return None
                continue
            cash = float(row.balances.get(owner.valuation_asset or "", "0"))
            positions = [(key.rpartition("|")[0], each.quantity) for key, each in row.positions.items()]
            held = self._held(owner, row, cash, positions)
            stay = None if held is None else self.draw(held)
            if stay is None:
                return None
            found.append(stay.box)
        return found

    def _is_cash(self, owner: AccountGlance, row: BucketGlance) -> bool:
        """Whether the bucket holds nothing that a price moves, and has the status that it will keep."""
        asset = owner.valuation_asset
        if asset is None or owner.margin_mode == "portfolio" or any(held != asset for held in row.balances):
            return False
        return self._terms.counts_in_full(asset) and is_settled(row)

    def _held(
        self, owner: Account | AccountGlance, bucket: Bucket | BucketGlance, cash: float, held: list[tuple[str, float]]
    ) -> Held | None:
        limits = self._limits_for(owner, bucket)
        if limits is None or not held:
            return None
        positions = {}
        for instrument, quantity in held:
            term, mark = self._terms.of(instrument), self._marks.get(instrument)
            if term is None or not mark or term.asset != owner.valuation_asset:
                return None
            positions[instrument] = term, quantity * term.size, mark / E18_FLOAT
        if len(positions) != len(held):
            return None  # two legs of one instrument: its price hurts both ways
        return Held(cash, positions, limits)

    def _limits_for(self, owner: Account | AccountGlance, bucket: Bucket | BucketGlance) -> Limits | None:
        """None where it holds anything but its valuation asset in full, or where more than its numbers make its status."""
        asset, balances = owner.valuation_asset, bucket.balances
        if asset is None or len(balances) > (asset in balances) or not self._terms.counts_in_full(asset):
            return None
        return self._limits.get((owner.segregation, owner.margin_mode, bucket.status))

    def _floor(self) -> float:
        """What an equity must stay above, whatever is required: as low as any was that is watched."""
        lowest = None if self._watch is None else self._watch.lowest_e18
        return 0.0 if lowest is None else max(0.0, lowest / E18_FLOAT)


def _is_alone(account: Account, bucket: Bucket) -> bool:
    """Whether nothing is under way about the bucket."""
    busy = bucket.orders or bucket.doubts or bucket.tries or bucket.defaulted or account.parked
    return account.known and not busy


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


def _sums(cash: float, lines: Iterable[Line]) -> Sums:
    equity_low = equity_high = cash
    maintenance_low = maintenance_high = initial_low = initial_high = 0.0
    magnitude = abs(cash)
    for line in lines:
        bounds = _bounds(*line)
        equity_low += bounds[0]
        equity_high += bounds[1]
        maintenance_low += bounds[2]
        maintenance_high += bounds[3]
        initial_low += bounds[4]
        initial_high += bounds[5]
        magnitude += bounds[6]
    return equity_low, equity_high, maintenance_low, maintenance_high, initial_low, initial_high, magnitude


def _moved(sums: Sums, past: Sums, coming: Sums, cash: float) -> Sums:
    """With more cash, and one position in another's place."""
    return (
        sums[0] - past[0] + coming[0] + cash, sums[1] - past[1] + coming[1] + cash, sums[2] - past[2] + coming[2],
        sums[3] - past[3] + coming[3], sums[4] - past[4] + coming[4], sums[5] - past[5] + coming[5],
        sums[6] - past[6] + coming[6] + abs(cash),
    )  # fmt: skip


def _bounds(term: Term, size: float, low: float, high: float) -> Sums:
    """What a position adds to them while its mark stays between `low` and `high`."""
    if size >= 0:
        worst, best = size * low, size * high
        least, most = worst, best
    else:
        worst, best = size * high, size * low
        least, most = -best, -worst
    if most >= term.first_ends:
        return worst, best, *_tiered(term.slabs, least, most), most * term.weight
    _, _, rate, off, initial, initial_off = term.slabs[0]
    return (
        worst, best, rate * least - off, rate * most - off, initial * least - initial_off, initial * most - initial_off,
        most * term.weight,
    )  # fmt: skip


def _tiered(slabs: Sequence[Slab], low: float, high: float) -> tuple[float, float, float, float]:
    """As `bounds._tiered`, of both requirements: the ends of every tier that the notional reaches."""
    least = least_initial = NO_END
    most = most_initial = -NO_END
    for first, last, rate, off, initial_rate, initial_off in slabs:
        begin, end = max(low, first), min(high, last)
        if begin <= end:
            least, most = min(least, rate * begin - off), max(most, rate * end - off)
            least_initial = min(least_initial, initial_rate * begin - initial_off)
            most_initial = max(most_initial, initial_rate * end - initial_off)
    return least, most, least_initial, most_initial


def _holds(sums: Sums, magnitude: float, limits: Limits, floor: float) -> bool:
    """Whether these bounds show that the bucket keeps its status, is not liquidatable, and its equity stays above the floor."""
    equity, highest, maintenance_low, maintenance, initial_low, initial, _ = sums
    error = 4 * ERROR * magnitude  # of the equity, and of what it is held against
    equity -= error
    if equity <= floor or equity <= maintenance * limits.maintenance or equity <= initial * limits.initial:
        return False
    if limits.ceiling == NO_END:
        return True
    return highest + error < (initial_low if limits.of_initial else maintenance_low) * limits.ceiling


def _reach(held: Held, lowest: float, share: float) -> tuple[float, float, float]:
    """How many sigmas toward where it hurts, and the other way, for a share of the way to the first threshold; and the largest sigma.

    As `Certificates._reach`.

    A proposal: what rounding does at the end of a tier is of no matter.
    """
    limits, equity = held.limits, held.cash
    maintenance = initial = moves = widest = 0.0
    for term, size, mark in held.positions.values():
        value, sigma = size * mark, term.sigma
        equity += value
        notional = abs(value)
        moves += notional * sigma
        widest = max(widest, sigma)
        for _, last, rate, off, initial_rate, initial_off in term.slabs:
            if notional <= last:
                maintenance += rate * notional - off
                initial += initial_rate * notional - initial_off
                break
    moves = max(moves, widest)
    skew = SKEW * widest
    down = NO_END
    for floor in (lowest, maintenance * limits.maintenance, initial * limits.initial):
        down = min(down, share * (equity - floor) / (moves + skew * abs(floor)))
    up = SKEW * down
    if limits.ceiling < NO_END:
        ceiling = (initial if limits.of_initial else maintenance) * limits.ceiling
        reach = share * (ceiling - equity) / (moves + skew * abs(ceiling))
        down = min(down, SKEW * reach)
        up = min(reach, SKEW * down)
    return down, up, widest


def _lines(held: Held, down: float, up: float) -> list[Line]:
    """Every price from `down` of its sigmas toward where it hurts to `up` the other way."""
    lines = []
    for term, size, mark in held.positions.values():
        hurt, help_ = min(WIDEST_SHARE, down * term.sigma), min(WIDEST_SHARE, up * term.sigma)
        low, high = (help_, hurt) if size < 0 else (hurt, help_)
        lines.append((term, size, mark * (1 - low), mark * (1 + high)))
    return lines
