"""Caps on the orders that leave: so many a second, so much notional a minute. A cap delays, worst first; it never halts.

What finds no room is not kept as an order: it would be stale by the time it goes out. Kept is the place of the decision (account,
bucket, order id) and how bad it stood; when there is room, the engine decides the worst of them again. So the queue is as long as
there are buckets to close at most, and nothing in it is an issued order: that is only what was read back from the topic.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.adapters.ports import Clock
from services.contracts.decimals import parse
from services.contracts.messages import Order

BATCH: Final = 64  # places decided again at once: a storm must not hold the loop up
GARBAGE: Final = 4  # outdated entries that a queue may hold for each order that waits in it
Place = tuple[str, str, str]  # account, bucket, order id
Rank = tuple[int, Fraction, str]


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What one shard may send. None: as much as there is. Notional is e18, valuation assets taken at par."""

    orders_per_second: int | None = None
    notional_per_minute: int | None = None

    def share(self, partitions: int) -> Caps:
        """The part of one of `partitions` shards, rounded down: however they are spread over workers, all shares together are
        within the cap.

        Raises:
            ValueError: nothing is left of a cap, which would halt every shard.
        """
        orders, notional = self.orders_per_second, self.notional_per_minute
        for name, cap in (("orders_per_second", orders), ("notional_per_minute", notional)):
            if cap is not None and cap < partitions:
                raise ValueError(
                    f"caps.{name} leaves nothing for each of {partitions} partitions: set it to more, or to none"
                )
        return Caps(
            orders_per_second=None if orders is None else orders // partitions,
            notional_per_minute=None if notional is None else notional // partitions,
        )


class TokenBucket:
    """Fills at `rate` a second up to `burst`. An amount above `burst` passes when it is full, and leaves a debt."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def level(self, now: float) -> float:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def admits(self, now: float, amount: float, besides: float = 0) -> bool:
        """Whether `amount` may pass now, after `besides` has."""
        return self.level(now) - besides >= min(amount, self._burst)

    def take(self, now: float, amount: float) -> None:
        self._level = self.level(now) - amount


@dataclass(frozen=True, slots=True)
class Held:
    """A decision that waits for room."""

    rank: Rank
    place: Place
    notional: int
    since: float  # monotonic
    stale_at_ms: int


class Lane:
    """The caps and the queue of one shard."""

    def __init__(self, caps: Caps, now: float) -> None:
        self.held: dict[str, Held] = {}  # by order id, in the order of being decided
        self.since: dict[str, float] = {}  # of what was given out last to be decided again: when it was first held
        self._worst: list[tuple[Rank, str]] = []  # a heap; entries that `held` does not confirm are outdated
        self._orders = None if caps.orders_per_second is None else _of_orders(caps.orders_per_second, now)
        self._notional = None if caps.notional_per_minute is None else _of_notional(caps.notional_per_minute, now)

    def admits(self, now: float, notional: int, besides: tuple[int, int] = (0, 0)) -> bool:
        """Whether both caps have room for an order, after `besides` (so many orders, so much notional) have passed."""
        if self._orders is not None and not self._orders.admits(now, 1, besides[0]):
            return False
        return self._notional is None or self._notional.admits(now, notional, besides[1])

    def take(self, now: float, notional: int) -> None:
        for bucket, amount in ((self._orders, 1), (self._notional, notional)):
            if bucket is not None:
                bucket.take(now, amount)

    def hold(self, held: Held) -> None:
        self.held.pop(held.place[2], None)
        self.held[held.place[2]] = held
        heapq.heappush(self._worst, (held.rank, held.place[2]))
        if len(self._worst) > GARBAGE * len(self.held) + BATCH:
            self._worst = [(each.rank, order_id) for order_id, each in self.held.items()]
            heapq.heapify(self._worst)

    def worst(self) -> Held | None:
        while self._worst:
            rank, order_id = self._worst[0]
            held = self.held.get(order_id)
            if held is not None and held.rank == rank:
                return held
            heapq.heappop(self._worst)
        return None

    def due(self, now: float, now_ms: int) -> list[Held]:
        """Taken out: the worst that there is room for, and what was decided too long ago, so that its rank is renewed."""
        taken: list[Held] = []
        notional = 0
        while len(taken) < BATCH and (held := self.worst()) is not None:
            if not self.admits(now, held.notional, (len(taken), notional)):
                break
            notional += held.notional
            taken.append(self.held.pop(held.place[2]))
        stale = [
            held
            for _, held in zip(range(BATCH - len(taken)), self.held.values(), strict=False)
            if held.stale_at_ms <= now_ms
        ]
        for held in stale:
            del self.held[held.place[2]]
        return taken + stale


class Throttle:
    """Says of each order whether it goes out now, and has the others decided again when there is room."""

    def __init__(self, caps: Caps, clock: Clock) -> None:
        self._caps = caps
        self._clock = clock
        self._lanes: dict[int, Lane] = {}

    @property
    def is_off(self) -> bool:
        return self._caps == Caps()

    def passes(self, partition: int, order: Order, notional: int) -> bool:
        """Whether the order may go out. If not it is kept in mind; if so it counts against the caps."""
        if self.is_off:
            return True
        now, lane, rank = self._clock.monotonic(), self._lane(partition), rank_of(order)
        worst = lane.worst()
        if (worst is None or worst.place[2] == order.order_id or rank < worst.rank) and lane.admits(now, notional):
            lane.held.pop(order.order_id, None)
            lane.take(now, notional)
            return True
        earlier = lane.held.get(order.order_id)
        since = earlier.since if earlier is not None else lane.since.get(order.order_id, now)
        place = (order.account, order.bucket, order.order_id)
        lane.hold(Held(rank, place, notional, since, order.valid_until_ms))
        return False

    def release(self, partition: int, decide_again: Callable[[Sequence[Place]], None]) -> None:
        """Have decided again what is due; what comes of it asks `passes` anew, perhaps a moment later."""
        lane = self._lanes.get(partition)
        taken = [] if lane is None else lane.due(self._clock.monotonic(), self._clock.now_ms())
        if lane is None or not taken:
            return
        lane.since = {held.place[2]: held.since for held in taken}
        decide_again([held.place for held in taken])

    def forget(self, partition: int) -> None:
        """The engine forgot the shard. What was sent still counts against the caps."""
        if (lane := self._lanes.get(partition)) is not None:
            lane.held.clear()

    def held(self, partition: int) -> int:
        """Orders that wait for room."""
        lane = self._lanes.get(partition)
        return 0 if lane is None else len(lane.held)

    def oldest_s(self, partition: int) -> float:
        """How long the oldest of them has been waiting."""
        lane = self._lanes.get(partition)
        if lane is None or not lane.held:
            return 0.0
        return self._clock.monotonic() - min(held.since for held in lane.held.values())

    def _lane(self, partition: int) -> Lane:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = Lane(self._caps, self._clock.monotonic())
        return lane


def rank_of(order: Order) -> Rank:
    """Worst first: debt that nothing secures, then equity by its requirement, ties by id."""
    equity, requirement = parse(order.equity), parse(order.maintenance_margin)
    if requirement <= 0:
        return (0 if equity < 0 else 2), Fraction(equity), order.order_id
    return 1, Fraction(equity, requirement), order.order_id


def _of_orders(cap: int, now: float) -> TokenBucket:
    """No second, wherever it begins, sees more than `cap`: burst + rate stay under cap + 1."""
    burst = max(1, cap // 5)
    return TokenBucket(cap - burst + 1, burst, now)


def _of_notional(cap: int, now: float) -> TokenBucket:
    """No minute sees more than `cap`, unless a single order is above a sixth of it: ten seconds' worth may go at once."""
    return TokenBucket(cap * 5 / 6 / 60, cap / 6, now)
