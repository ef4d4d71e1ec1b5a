"""The certificate index (engine.md "Certificates"): for each bucket a box of prices in which nothing about it can change.

A bucket in its box keeps its status, is not liquidatable, and stays above the lowest equity that a replay watches for. The box is
proposed from slopes and accepted by the bounds of `bounds.py`. Per price there are two heaps of triggers, below and above; a tick
looks at the nearest of each. Buckets without a box (distressed, options, portfolio, just touched) are hot: every move of their
prices counts.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Final, TypeVar

import numpy as np

from services.contracts.decimals import ONE
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.bounds import (
    CLOSEST,
    EDGE,
    HALVINGS,
    NARROWEST_SHARE,
    SKEW,
    WIDEST_SHARE,
    Bounds,
    Sheet,
)
from services.engine.bulk_boxes import AT_ONCE, BulkBoxes, Drawn
from services.engine.columns import Columns, joined
from services.engine.context import Context
from services.engine.glance import glances
from services.engine.ledger import Traded
from services.engine.pieces import TOUCH, Pace, Steps
from services.engine.plain_boxes import ROOM, Box, PlainBoxes, Stay
from services.engine.resting import may_rest
from services.engine.search import FullScan
from services.engine.settings import Rungs
from services.engine.state import Account, Bucket, BucketKey
from services.engine.terms import Terms
from services.engine.triggers import Noted, Triggers
from services.engine.valuation import Valuation, is_liquidatable
from services.engine.watch import EquityWatch
from services.engine.worth import E18_FLOAT, Incomplete

MOST_UNDRAWN: Final = 256
FEW: Final = 128  # so many accounts at rest are drawn one by one; of more the columns are worth their making
ALONE: Final = 25  # what one of them costs, in microseconds
TOGETHER: Final = 32  # that are decoded together
CROSSED: Final = 256  # buckets that are awake and whose edge is met; of more it is found later
NOTED: Final = 4_096  # entries that are looked at together
LOOK: Final = 60  # what that costs, in microseconds
GARBAGE: Final = 4  # stale entries a heap may hold for each bucket that depends on its price

Entry = tuple[float, BucketKey, int]
T = TypeVar("T")


class Certificates(FullScan):
    """The full scan's interface; `moved` names only buckets whose box the price has left, and hot ones."""

    def __init__(self, context: Context, watch: EquityWatch | None) -> None:
        super().__init__(context)
        self._watch = watch
        terms = Terms(context.market)
        self._bulk = BulkBoxes(context, watch, terms)
        self._plain = PlainBoxes(context, watch, terms) if context.settings.gap_guard == "off" else None
        self._proves = self._plain is not None and watch is None  # who watches wants to know every equity
        self._triggers = Triggers(context.accounts.packed.versions)  # of accounts at rest
        self._boxes: dict[BucketKey, Box] = {}  # of buckets that are awake
        self._stays: dict[BucketKey, Stay] = {}  # of the plain ones among them
        self._below: dict[str, list[Entry]] = {}  # negated lower edges: the highest edge on top
        self._above: dict[str, list[Entry]] = {}
        self._hot: dict[str, dict[BucketKey, None]] = {}
        self._versions: dict[BucketKey, int] = {}
        self._hot_prices: dict[BucketKey, tuple[str, ...]] = {}
        self._version = 0
        self._undrawn: set[BucketKey] = set()

    def place(self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete, prices: Iterable[str]) -> None:
        ids = tuple(prices)
        super().place(account, bucket, valuation, ids)
        key = (account.account, bucket.name)
        self._cool(key)
        if not ids:
            return
        if self._may_wait():
            self._heat(key, ids)
            self._undrawn.add(key)
            return
        box = self._box(account, bucket, valuation, ids)
        if box is None:
            self._heat(key, ids)
            return
        self._enclose(key, box)

    def keeps(self, account: Account, bucket: Bucket) -> bool:
        if self._plain is None or not self._proves:
            return False
        key = (account.account, bucket.name)
        box = self._boxes.get(key)
        stay = None if box is None else self._plain.stay(account, bucket, box)
        if stay is None:
            held = self._plain.held(account, bucket)
            trades = self._context.cause.topic in ACCOUNT_TOPICS
            stay = None if held is None else self._plain.draw(held, ROOM if trades else CLOSEST)
            if stay is None:
                return False
            self._depend(key, frozenset(stay.box))
            self._cool(key)
            self._enclose(key, stay.box)
        self._stays[key] = stay
        return True

    def absorbs(self, key: BucketKey, execution: Traded, before: int) -> bool:
        stay = self._stays.get(key)
        return stay is not None and self._plain is not None and self._plain.absorbs(stay, execution, before)

    def _enclose(self, key: BucketKey, box: Box) -> None:
        self._version += 1
        self._versions[key] = self._version
        self._boxes[key] = box
        for price_id, (low, high) in box.items():
            self._push(self._below, price_id, (-low * (1 + EDGE), key, self._version))
            self._push(self._above, price_id, (high * (1 - EDGE), key, self._version))

    def _may_wait(self) -> bool:
        """Whether drawing can wait for the next tick of one of its prices: an order and its answers touch a bucket several times.

        What waits is hot, so that its number is what the next tick pays for: it is bounded.
        """
        return self._context.cause.topic in ACCOUNT_TOPICS and len(self._undrawn) < MOST_UNDRAWN

    def remove(self, key: BucketKey) -> None:
        super().remove(key)
        self._cool(key)

    def moved(self, price_id: str) -> Iterable[BucketKey]:
        mark, hot = self._context.market.marks.get(price_id), self._hot.get(price_id, ())
        if mark is None:
            return self.disturbed(price_id)  # it was taken back: in no box anything is proven
        price = mark / E18_FLOAT
        found: dict[BucketKey, None] = {}
        self._crossed(self._below.get(price_id), -price, found)
        self._crossed(self._above.get(price_id), price, found)
        if reached := self._triggers.reached(price_id, price):
            self._context.later.append(partial(self._redrawn_of, reached))
        return chain(hot, found) if hot and found else hot or found

    def quiet_between(self, price_id: str) -> tuple[float, float] | None:
        if self._hot.get(price_id):
            return None
        below, above = self._below.get(price_id), self._above.get(price_id)
        low, high = self._triggers.between(price_id)
        return max(low, -below[0][0] if below else 0.0), min(high, above[0][0] if above else high)

    def disturbed(self, price_id: str) -> Iterable[BucketKey]:
        self._context.later.append(partial(self._redrawn_of, self._triggers.holders(price_id)))
        return self.awake(price_id)

    def holders(self, price_id: str) -> Iterator[str]:
        packed, noted = self._context.accounts.packed, _together(self._triggers.holders(price_id))
        resting = (number for part in noted for number in self._triggers.current(part))
        return chain(super().holders(price_id), map(packed.name, resting))

    def holder_count(self, price_id: str) -> int:
        return super().holder_count(price_id) + self._triggers.count(price_id)

    def rest(self, account: Account) -> bool:
        keys = [(account.account, name) for name in account.buckets]
        boxes = [self._boxes.get(key) for key in keys if self._prices.get(key)]
        if None in boxes or not may_rest(account, account.buckets.values()):
            return False
        number = self._context.accounts.rest(account)
        if number is None:
            return False
        for box in boxes:
            for price_id, (low, high) in (box or {}).items():
                self._triggers.add(price_id, low * (1 + EDGE), high * (1 - EDGE), number)
        for key in keys:
            self.remove(key)
        return True

    def redraw(self, numbers: Iterable[int]) -> None:
        self._context.later.append(partial(self._redrawn, numbers))

    def enter(self, numbers: Sequence[int], columns: Columns) -> None:
        if self._watch is None:
            self._context.accounts.wake(self._drawn(numbers, columns).refused)
        else:
            super().enter(numbers, columns)  # every equity is to be noted once

    def _redrawn_of(self, noted: Sequence[Noted], pace: Pace) -> Steps:
        """Of these entries what was not redrawn since."""
        for part in _together(noted):
            yield from self._redrawn(self._triggers.current(part), pace)
            if pace.spent(LOOK):
                yield

    def _redrawn(self, numbers: Iterable[int], pace: Pace) -> Steps:
        """New boxes where the bounds allow them at once; the others wake, to be reviewed one by one."""
        accounts, source, at_once = self._context.accounts, iter(numbers), pace.share(ALONE, AT_ONCE)
        while part := list(islice(source, at_once)):
            resting = [number for number in part if accounts.packed.holds(number)]
            if len(resting) <= FEW:
                for first in range(0, len(resting), TOGETHER):
                    some = resting[first : first + TOGETHER]
                    self._redraw_alone(some)
                    if pace.spent(len(some) * ALONE):
                        yield
                continue
            for number in resting:
                accounts.packed.renew(number)
            columns = [self._context.columnist.columns(each) for each in glances(accounts.bodies(resting))]
            accounts.wake(self._drawn(resting, joined(columns)).refused)
            if pace.spent(len(resting) * ALONE):
                yield

    def _redraw_alone(self, numbers: Sequence[int]) -> None:
        """As in bulk; columns of a few would cost more than they are worth."""
        accounts = self._context.accounts
        for number, seen in zip(numbers, chain.from_iterable(glances(accounts.bodies(numbers))), strict=True):
            accounts.packed.renew(number)
            boxes = None if self._plain is None else self._plain.at_rest(seen)
            for box in boxes or ():
                for price_id, (low, high) in box.items():
                    self._triggers.add(price_id, low * (1 + EDGE), high * (1 - EDGE), number)
            if boxes is None:
                accounts.wake([number])

    def _drawn(self, numbers: Sequence[int], columns: Columns) -> Drawn:
        drawn = self._bulk.draw(numbers, columns)
        for edges in drawn.edges:
            self._triggers.add_many(edges.price_id, edges.lows, edges.highs, edges.numbers)
        return drawn

    def _crossed(self, heap: list[Entry] | None, edge: float, found: dict[BucketKey, None]) -> None:
        """Whose edge was met; if they are many, the others later."""
        while heap and heap[0][0] <= edge:
            if len(found) >= CROSSED:
                self._context.later.append(partial(self._crossed_too, heap, edge))
                return
            self._pop(heap, found)

    def _crossed_too(self, heap: list[Entry], edge: float, pace: Pace) -> Steps:
        while heap and heap[0][0] <= edge:
            self._pop(heap, self._context.touched)
            if pace.spent(TOUCH):
                yield

    def _pop(self, heap: list[Entry], found: dict[BucketKey, None]) -> None:
        _, key, version = heapq.heappop(heap)
        if self._versions.get(key) == version:
            found[key] = None
            del self._versions[key], self._boxes[key]  # one of its triggers is gone: it is not to be kept
            self._stays.pop(key, None)

    def _push(self, heaps: dict[str, list[Entry]], price_id: str, entry: Entry) -> None:
        heap = heaps.setdefault(price_id, [])
        heapq.heappush(heap, entry)
        if len(heap) > 64 + GARBAGE * len(self._holders.get(price_id, ())):
            heap[:] = [each for each in heap if self._versions.get(each[1]) == each[2]]
            heapq.heapify(heap)

    def _heat(self, key: BucketKey, ids: tuple[str, ...]) -> None:
        self._hot_prices[key] = ids
        for price_id in ids:
            self._hot.setdefault(price_id, {})[key] = None

    def _cool(self, key: BucketKey) -> None:
        self._undrawn.discard(key)
        self._versions.pop(key, None)
        self._boxes.pop(key, None)
        self._stays.pop(key, None)
        for price_id in self._hot_prices.pop(key, ()):
            self._hot[price_id].pop(key, None)

    def _box(
        self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete, ids: tuple[str, ...]
    ) -> Box | None:
        """The widest box found in which the bounds prove that nothing changes; None if there is none worth keeping."""
        if isinstance(valuation, Incomplete) or account.margin_mode == "portfolio":
            return None
        if any(leg.spec.option is not None or leg.spec.fee_basis == "bankruptcy" for leg in valuation.legs):
            return None
        if is_liquidatable(valuation, at_equal=True) or valuation.equity < 0:
            return None
        gap = self._context.gap
        if gap.breaches(account, valuation):
            return None
        marks = {price_id: mark / E18_FLOAT for price_id in ids if (mark := self._context.market.marks.get(price_id))}
        if len(marks) != len(ids):
            return None
        guarded = gap.guards(account, valuation)
        rates = {leg.key[0]: gap.rate(leg.key[0]) for leg in valuation.legs} if guarded else {}
        sheet, rungs = Sheet(account, bucket, self._context.market), self._context.ladders.rungs_of(account)
        sigmas = self._sigmas(ids)
        moves = self._moves(valuation, sigmas)
        down, up = self._reach(bucket, rungs, valuation, gap.loss(valuation) if guarded else 0, _Moving(moves, sigmas))
        for _ in range(HALVINGS):
            box = _box_of(marks, sigmas, moves, (down, up))
            if box is None:
                return None
            if self._holds(bucket, rungs, sheet.over(box), sheet.gross(box, rates) if rates else 0.0):
                return box
            down = down / 2
            up = min(up, down)
        return None

    def _sigmas(self, ids: tuple[str, ...]) -> dict[str, float]:
        return {price_id: max(self._context.market.sigma(price_id) / E18_FLOAT, EDGE) for price_id in ids}

    def _moves(self, valuation: Valuation, sigmas: dict[str, float]) -> dict[str, float]:
        """What one sigma of each price adds to the equity: a proposal, no proof."""
        unit = float(valuation.scale) / E18_FLOAT**2
        moves = dict.fromkeys(sigmas, 0.0)
        for leg in valuation.legs:
            moves[leg.key[0]] += float(leg.value) * leg.settle_price / unit * sigmas[leg.key[0]]
        for asset, net in valuation.nets.items():
            record = self._context.market.assets.get(asset)
            if record is not None and record.price_instrument in moves:
                price_id = record.price_instrument
                moves[price_id] += float(net) * valuation.prices[asset] / unit * sigmas[price_id]
        return moves

    def _reach(
        self, bucket: Bucket, rungs: Rungs, valuation: Valuation, loss: int, moving: "_Moving"
    ) -> tuple[float, float]:
        """How many sigmas toward where it hurts, and the other way, until the first threshold that means anything to the bucket."""
        scale = float(valuation.scale)
        equity, maintenance, initial = (
            float(x) / scale for x in (valuation.equity, valuation.maintenance, valuation.initial)
        )
        floors, ceiling = [0.0, maintenance, float(loss) / scale / E18_FLOAT], float("inf")
        if self._watch is not None and self._watch.lowest_e18 is not None:
            floors.append(self._watch.lowest_e18 / E18_FLOAT)
        if not self._is_held_by_state(bucket):
            if bucket.status == "liquidating":
                ceiling = maintenance * _over(self._context.settings.hysteresis)
            for rung, requirement, buffer in _steps(rungs, maintenance, initial):
                if rung == bucket.status:
                    ceiling = requirement * _over(buffer + rungs.rung_hysteresis)
                    break
                floors.append(requirement * _over(buffer))
        down = min(moving.sigmas_to(equity - floor, floor) for floor in floors)
        up = moving.sigmas_to(ceiling - equity, ceiling) if ceiling < float("inf") else ceiling
        down = min(down, SKEW * up)
        return down, min(up, SKEW * down)

    @staticmethod
    def _is_held_by_state(bucket: Bucket) -> bool:
        """Whether its status follows from doubts or open orders alone."""
        return bool(bucket.doubts) or any(order.is_open for order in bucket.orders.values())

    def _holds(self, bucket: Bucket, rungs: Rungs, bounds: Bounds, loss: float) -> bool:
        """Whether, anywhere in the box, the bucket keeps its status, is not liquidatable, and sets no new low.

        `loss` is the most that the gap guard expects, 0 where it does not look.
        """
        error = bounds.error
        equity, highest = bounds.equity[0] - error, bounds.equity[1] + error
        if equity <= max(bounds.maintenance[1], loss) or equity < 0:
            return False
        if (
            self._watch is not None
            and self._watch.lowest_e18 is not None
            and equity < self._watch.lowest_e18 / E18_FLOAT
        ):
            return False
        if self._is_held_by_state(bucket):
            return True
        if bucket.status == "liquidating":
            return highest < bounds.maintenance[0] * _over(self._context.settings.hysteresis) - error
        for rung, requirement, buffer in _steps(rungs, bounds.maintenance, bounds.initial):
            if rung == bucket.status:
                return highest < requirement[0] * _over(buffer + rungs.rung_hysteresis) - error
            if equity < requirement[1] * _over(buffer) + error:
                return False
        return bucket.status == "healthy"


def _together(parts: Sequence[Noted]) -> Iterator[Noted]:
    """The same entries, `NOTED` of them at a time."""
    if parts:
        numbers, versions = (np.concatenate(each) for each in zip(*parts, strict=True))
        for at in range(0, len(numbers), NOTED):
            yield numbers[at : at + NOTED], versions[at : at + NOTED]


def _steps(rungs: Rungs, maintenance: T, initial: T) -> tuple[tuple[str, T, int], ...]:
    """The rungs, worst first: name, the requirement that its threshold is a multiple of, the buffer."""
    return (
        ("reduce_only", maintenance, rungs.reduce_only_buffer),
        ("margin_call", initial, rungs.margin_call_buffer),
        ("warning", initial, rungs.warning_buffer),
    )


class _Moving:
    """How fast a bucket's equity moves with its prices."""

    def __init__(self, moves: dict[str, float], sigmas: dict[str, float]) -> None:
        self._widest = max(sigmas.values())
        self._equity = sum(abs(move) for move in moves.values()) or self._widest

    def sigmas_to(self, slack: float, threshold: float) -> float:
        """After how many sigmas of every price the equity may meet the threshold, which moves toward it on the box's wider side."""
        return CLOSEST * max(0.0, slack) / (self._equity + SKEW * abs(threshold) * self._widest)


def _box_of(
    marks: dict[str, float], sigmas: dict[str, float], moves: dict[str, float], sides: tuple[float, float]
) -> Box | None:
    """Every price `sides[0]` of its sigmas toward where it hurts, `sides[1]` the other way; None where that is too narrow to keep."""
    down, up = sides
    if min(down, up) * max(sigmas.values()) < NARROWEST_SHARE:
        return None
    box = {}
    for price_id, mark in marks.items():
        hurt, help_ = min(WIDEST_SHARE, down * sigmas[price_id]), min(WIDEST_SHARE, up * sigmas[price_id])
        low, high = (help_, hurt) if moves[price_id] < 0 else (hurt, help_)
        box[price_id] = mark * (1 - low), mark * (1 + high)
    return box


def _over(buffer: int) -> float:
    return (ONE + buffer) / E18_FLOAT
