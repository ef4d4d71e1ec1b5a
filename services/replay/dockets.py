"""What the orders of a recording rest on: one look at the recording before it is gone through for proof."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct, structs

from services.contracts.codec import decode
from services.contracts.decimals import parse
from services.contracts.journal import JOURNAL, decode_journal
from services.contracts.messages import Claim, Evidence, Fill, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.settings import Settings
from services.replay.recompute import ORDERS, is_sent_again

Place = tuple[int, int]  # partition, offset
EVIDENCE_OF: Final = {
    "fills": "fills", "transfers": "transfers", "accounts": "accounts", "order-events": "order_events", ORDERS: "liquidation_orders",
    "instruments": "instruments", "collateral": "collateral", "controls": "controls", "risk-parameters": "risk_parameters",
}  # fmt: skip
REFERENCE_TOPICS: Final = ("instruments", "collateral", "controls", "risk-parameters")


class Expected(Struct, frozen=True, kw_only=True):
    """One recorded order by its place, and what it names. `current`: its epoch is the latest claim's before it."""

    partition: int
    offset: int
    order_id: str
    evidence: Evidence
    current: bool
    claimed: bool

    def place(self, topic: str) -> Place | None:
        """What it names of a topic that is not `prices`."""
        named = getattr(self.evidence, EVIDENCE_OF[topic], None) if topic in EVIDENCE_OF else None
        return None if named is None else (named[0], named[1])

    @property
    def ticks(self) -> dict[str, Place]:
        return {name: (place[0], place[1]) for name, place in (self.evidence.prices or {}).items()}


class Repeat(Struct, frozen=True):
    """An order that was sent again: its places now and before."""

    order: Order
    place: Place
    before: Place


class Contents(Struct):
    """By account its orders in the order of the log, what was sent again, and how often each tick is named."""

    expected: dict[str, list[Expected]] = {}
    repeats: list[Repeat] = []
    ticks: dict[Place, int] = {}
    price_ids: set[str] = set()
    orders: int = 0
    settings: Settings | None = None  # of the first worker whose journal says so


def contents_of(records: Iterable[Record], claims: Mapping[int, int] | None = None) -> Contents:
    """Looks through a recording for its orders. `claims`: those that it begins with, by partition."""
    found, latest = Contents(), dict(claims or {})
    known: dict[str, tuple[Order, Place]] = {}
    for record in records:
        if record.topic == JOURNAL and found.settings is None:
            found.settings = settings_told(record)
        if record.topic != ORDERS:
            continue
        message = decode(ORDERS, record.value)
        if isinstance(message, Claim):
            latest[record.partition] = record.offset
        if not isinstance(message, Order):
            continue
        place = (record.partition, record.offset)
        before = known.get(message.order_id)
        known[message.order_id] = (message, place)
        found.orders += 1
        if before is not None and is_sent_again(message, before[0]):
            found.repeats.append(Repeat(message, place, before[1]))
            continue
        claim = latest.get(record.partition)
        expected = Expected(
            partition=record.partition, offset=record.offset, order_id=message.order_id, evidence=message.evidence,
            current=message.epoch == (0 if claim is None else claim), claimed=message.epoch > 0 or claim is not None,
        )  # fmt: skip
        found.expected.setdefault(message.account, []).append(expected)
        for name, tick in expected.ticks.items():
            found.ticks[tick] = found.ticks.get(tick, 0) + 1
            found.price_ids.add(name)
    return found


def settings_told(record: Record) -> Settings | None:
    """A worker's settings, in the first record of its journal; None in others, and in those of another version."""
    try:
        told = decode_journal(record.value).settings
        return None if told is None else structs.replace(msgspec.convert(told, Settings), account_partitions=None)
    except msgspec.MsgspecError:
        return None


class History:
    """The account's orders as they were read back, and what was filled of them: which tries a distress may have had."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._filled: dict[str, int] = {}
        self._before: dict[str, dict[str, list[tuple[int, int]]]] = {}  # by bucket: tries of a stored row

    def begins(self, bucket: str, tries: Mapping[str, list[tuple[int, int]]]) -> None:
        """What a state that the recording begins with says of a bucket."""
        self._before[bucket] = dict(tries)

    def entered(self, record: Record) -> None:
        if record.topic not in ("fills", ORDERS):
            return
        message = decode(record.topic, record.value)
        if isinstance(message, Order):
            self._orders.setdefault(message.order_id, message)
        elif isinstance(message, Fill) and message.order_id is not None:
            self._filled[message.order_id] = self._filled.get(message.order_id, 0) + parse(message.quantity)

    def tries(self, bucket: str, since_ms: int) -> dict[str, list[tuple[int, int]]]:
        """By instrument attempt and time of the bucket's orders from `since_ms` on, after the last that was wholly filled."""
        before = self._before.get(bucket, {})
        found = {name: [one for one in each if one[1] >= since_ms] for name, each in before.items()}
        for order in sorted(self._orders.values(), key=lambda each: each.attempt):
            if order.bucket != bucket or order.ts_ms < since_ms:
                continue
            if self._filled.get(order.order_id, 0) >= parse(order.quantity):
                found.pop(order.instrument, None)
            else:
                found.setdefault(order.instrument, []).append((order.attempt, order.ts_ms))
        return {name: each for name, each in found.items() if each}


class Docket:
    """One account on its way through the recording: what was read of it and not entered, and the orders still to be proved."""

    def __init__(self, expected: list[Expected]) -> None:
        self._expected = expected
        self._next = 0
        self.held: list[Record] = []
        self.history = History()
        self.entered: dict[str, Place] = {}
        self.orders: dict[int, Order] = {}  # by offset, read and not proved

    @property
    def next(self) -> Expected | None:
        return self._expected[self._next] if self._next < len(self._expected) else None

    def proved(self, expected: Expected) -> None:
        self._next += 1
        self.orders.pop(expected.offset, None)
        if self.next is None:
            self.held.clear()

    def due(self) -> Iterator[Record]:
        """Records that the next order names, out of what is held; topics keep their order."""
        expected = self.next
        if expected is None:
            return
        kept = []
        for record in self.held:
            limit = expected.place(record.topic) if record.topic in EVIDENCE_OF else (record.partition, record.offset)
            if limit is not None and record.offset <= limit[1]:
                self.entered[record.topic] = (record.partition, record.offset)
                self.history.entered(record)
                yield record
            else:
                kept.append(record)
        self.held = kept

    def missing(self, expected: Expected, log_end: int) -> list[str]:
        """The account's own records that the order names and that were not read yet. `log_end`: offset last read of its orders."""
        lacking = []
        for topic in ACCOUNT_TOPICS:
            named = expected.place(topic)
            if named is None:
                continue
            at = (named[0], log_end) if topic == ORDERS else self.entered.get(topic, (named[0], -1))
            if at[1] < named[1]:
                lacking.append(f"{topic}[{named[0]}]@{named[1]}")
        return lacking
