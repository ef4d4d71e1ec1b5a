"""The box of one plain bucket, by itself: `bulk_boxes.py` for what was just touched, in a few microseconds.

Plain is what it is there. Where a box is accepted, or the one that the bucket has is found to hold still, the bounds have proven
that at the present marks too its status stays and it is not liquidatable: nobody has to value it. What is proven in bounds.md holds
here: the sums are the same sums. Whatever is not plain, or not accepted, is for the exact way.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple, get_args

from services.contracts.messages import MarginMode, Segregation
from services.engine.bounds import CLOSEST, ERROR, HALVINGS, NARROWEST_SHARE, SKEW, WIDEST_SHARE, Interval
from services.engine.columns import is_settled
from services.engine.context import Context
from services.engine.glance import AccountGlance, BucketGlance, Glance
from services.engine.settings import Rungs
from services.engine.state import Account, Bucket
from services.engine.terms import Slab, Term, Terms
from services.engine.watch import EquityWatch
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
    """A plain bucket as floats; a line is a term, a signed size, and the present mark. Its equity must stay above `floor`."""

    cash: float
    lines: dict[str, tuple[Term, float, float]]
    limits: Limits
    floor: float


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
        if bucket.orders or bucket.doubts or bucket.tries or bucket.defaulted or account.parked or not account.known:
            return None
        cash = bucket.balances.get(account.valuation_asset or "", 0) / E18_FLOAT
        positions = [(key[0], each.quantity / E18_FLOAT) for key, each in bucket.positions.items()]
        return self._held(account, bucket, cash, positions)

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
            box = None if held is None else self.box(held)
            if box is None:
                return None
            found.append(box)
        return found

    def _is_cash(self, owner: AccountGlance, row: BucketGlance) -> bool:
        """Whether the bucket holds nothing that a price moves, and has the status that it will keep."""
        asset = owner.valuation_asset
        if asset is None or owner.margin_mode == "portfolio" or any(held != asset for held in row.balances):
            return False
        return self._terms.counts_in_full(asset) and is_settled(row)

    def _held(
        self,
        owner: Account | AccountGlance,
        bucket: Bucket | BucketGlance,
        cash: float,
        positions: list[tuple[str, float]],
    ) -> Held | None:
        asset, balances = owner.valuation_asset, bucket.balances
        limits = self._limits.get((owner.segregation, owner.margin_mode, bucket.status))
        if asset is None or limits is None or not positions or len(balances) > (asset in balances):
            return None
        if not self._terms.counts_in_full(asset):
            return None
        lines = {}
        for instrument, quantity in positions:
            term, mark = self._terms.of(instrument), self._marks.get(instrument)
            if term is None or not mark or term.asset != asset:
                return None
            lines[instrument] = term, quantity * term.size, mark / E18_FLOAT
        if len(lines) != len(positions):
            return None  # two legs of one instrument: its price hurts both ways
        lowest = None if self._watch is None else self._watch.lowest_e18
        return Held(cash, lines, limits, 0.0 if lowest is None else max(0.0, lowest / E18_FLOAT))

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
        down, up, widest = _reach(held)
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
            low, high = size * low, size * high
            equity_low += low
            equity_high += high
        else:
            low, high = -size * low, -size * high
            equity_low -= high
            equity_high -= low
        magnitude += high * term.weight
        if high < term.first_ends:
            _, _, rate, off, initial_rate, initial_off = term.slabs[0]
            least, most = rate * low - off, rate * high - off
            least_initial, most_initial = initial_rate * low - initial_off, initial_rate * high - initial_off
        else:
            least, most, least_initial, most_initial = _tiered(term.slabs, low, high)
        maintenance_low += least
        maintenance_high += most
        initial_low += least_initial
        initial_high += most_initial
    return equity_low, equity_high, maintenance_low, maintenance_high, initial_low, initial_high, magnitude


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


def _holds(held: Held, box: Mapping[str, Interval]) -> bool:
    """Whether, anywhere in the box, the bucket keeps its status, is not liquidatable, and sets no new low."""
    equity, highest, maintenance_low, maintenance, initial_low, initial, magnitude = _sums(held, box)
    limits, error = held.limits, 4 * ERROR * magnitude  # of the equity, and of what it is held against
    equity -= error
    if equity <= held.floor or equity <= maintenance * limits.maintenance or equity <= initial * limits.initial:
        return False
    if limits.ceiling == NO_END:
        return True
    return highest + error < (initial_low if limits.of_initial else maintenance_low) * limits.ceiling


def _reach(held: Held) -> tuple[float, float, float]:
    """How many sigmas toward where it hurts, and the other way, until the first threshold, as `Certificates._reach`; and the largest sigma.

    A proposal: what rounding does at the end of a tier is of no matter.
    """
    limits, equity = held.limits, held.cash
    maintenance = initial = moves = widest = 0.0
    for term, size, mark in held.lines.values():
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
    for floor in (held.floor, maintenance * limits.maintenance, initial * limits.initial):
        down = min(down, CLOSEST * (equity - floor) / (moves + skew * abs(floor)))
    up = SKEW * down
    if limits.ceiling < NO_END:
        ceiling = (initial if limits.of_initial else maintenance) * limits.ceiling
        reach = CLOSEST * (ceiling - equity) / (moves + skew * abs(ceiling))
        down = min(down, SKEW * reach)
        up = min(reach, SKEW * down)
    return down, up, widest


def _box_of(held: Held, down: float, up: float) -> Box:
    """Every price `down` of its sigmas toward where it hurts, `up` the other way."""
    box = {}
    for instrument, (term, size, mark) in held.lines.items():
        hurt, help_ = min(WIDEST_SHARE, down * term.sigma), min(WIDEST_SHARE, up * term.sigma)
        low, high = (help_, hurt) if size < 0 else (hurt, help_)
        box[instrument] = mark * (1 - low), mark * (1 + high)
    return box
