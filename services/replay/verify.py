"""One order, checked: what it rests on is gathered from a recording, and the reference computes it again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from services.contracts.codec import decode, encode
from services.contracts.messages import TERMINAL, AccountState, Claim, Control, Order, OrderEvent
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.lifecycle import DISTRESSED
from services.engine.portfolio.preset import Preset
from services.engine.settings import Settings
from services.replay.dockets import EVIDENCE_OF, REFERENCE_TOPICS, Expected, Place, settings_told
from services.replay.recompute import (
    ORDERS,
    Answer,
    Case,
    Difference,
    differences,
    is_sent_again,
    recompute_by_reference,
)
from services.replay.references import References


class NotAnOrder(ValueError):
    """What was given is no liquidation order; the message says why."""


class Checked(Struct, frozen=True, kw_only=True):
    """The outcome. `missing` names records that the order rests on and the recording lacks: nothing can be said then."""

    order: Order
    place: Place | None  # where the recording holds it
    verified: bool
    differences: Sequence[Difference] = ()
    missing: Sequence[str] = ()
    detail: str = ""

    def line(self) -> dict[str, Any]:
        order = self.order
        return {
            "order_id": order.order_id, "account": order.account, "bucket": order.bucket, "instrument": order.instrument,
            "attempt": order.attempt, "place": None if self.place is None else [ORDERS, *self.place], "engine": "reference",
            "verified": self.verified, "differences": [msgspec.to_builtins(each) for each in self.differences],
            "missing": list(self.missing), "detail": self.detail,
        }  # fmt: skip


def read_order(raw: bytes) -> Order:
    """An order as its record's value, as a record of a recording, or as a line of `replay --json`. Raises `NotAnOrder`."""
    value = raw.strip()
    try:
        whole = msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise NotAnOrder(f"not JSON: {error}") from error
    if isinstance(whole, dict) and isinstance(whole.get("value"), dict):
        value = msgspec.json.encode(whole["value"])
    message = decode(ORDERS, value)
    if isinstance(message, Order):
        return message
    raise NotAnOrder(message.detail if isinstance(message, Refusal) else "a claim, not an order")


def find_order(records: Iterable[Record], order_id: str) -> Order | None:
    """The first order of this id in a recording."""
    wanted = order_id.encode()
    for record in records:
        if record.topic == ORDERS and wanted in record.value:
            message = decode(ORDERS, record.value)
            if isinstance(message, Order) and message.order_id == order_id:
                return message
    return None


def check(order: Order, records: Iterable[Record], settings: Settings, presets: Mapping[str, Preset]) -> Checked:
    """Reads the records once. An order that was sent again is checked as it was when it was decided."""
    gathered = Gathered(order)
    for record in records:
        gathered.saw(record)
    first = gathered.first
    decided = order if first is None or not is_sent_again(order, first) else first
    missing = gathered.missing()
    if missing:
        return Checked(
            order=order,
            place=gathered.place,
            verified=False,
            missing=missing,
            detail="the recording lacks what it names",
        )
    best: list[Difference] | None = None
    answer: Answer | None = None
    for each in (settings, *([] if gathered.settings is None else [gathered.settings])):
        for cut in gathered.cuts():
            case = gathered.case(decided)
            answer = recompute_by_reference(case, gathered.account_records(cut), each, presets)
            if answer.order is None:
                continue
            differing = differences(decided, answer.order, evidence=False)
            if not differing:
                again = (
                    ""
                    if decided is order or decided == order
                    else "sent again: the same but for epoch, validity and time"
                )
                return Checked(order=order, place=gathered.place, verified=True, detail=again)
            best = differing if best is None or len(differing) < len(best) else best
    if gathered.cut_off:
        return Checked(
            order=order, place=gathered.place, verified=False, missing=gathered.cut_off, detail="the recording begins late"
        )  # fmt: skip
    if best is not None:
        return Checked(order=order, place=gathered.place, verified=False, differences=best)
    return Checked(order=order, place=gathered.place, verified=False, detail=_not_decided(answer))


class Gathered:
    """What one order rests on, out of everything that goes by."""

    def __init__(self, order: Order) -> None:
        self._order = order
        named = order.evidence
        places = [named.liquidation_orders, named.fills, named.transfers, named.accounts]
        self._partition = next((place[0] for place in places if place is not None), 0)
        self._expected = Expected(
            partition=self._partition, offset=-1, order_id=order.order_id, evidence=named, current=True, claimed=False
        )
        self._references = References()
        self._ticks: dict[str, Record] = {}
        self._account: list[Record] = []
        self._known: set[str] = set()  # ids of orders that went by: another record of one is the same order again
        self._after: list[tuple[Record, Order]] = []  # valid orders of the account that it had not read back
        self._ends: dict[str, int] = {}
        self.cut_off: list[str] = []  # account topics of which the recording lacks the beginning
        self._begun: set[str] = set()
        self._claim: int | None = None
        self._recoveries: list[int] = []
        self.first: Order | None = None
        self.place: Place | None = None
        self.settings: Settings | None = None

    def saw(self, record: Record) -> None:
        topic = record.topic
        if topic == "prices":
            for name, place in self._expected.ticks.items():
                if place == (record.partition, record.offset):
                    self._ticks[name] = record
        elif topic in REFERENCE_TOPICS:
            self._references.saw(record)
            self._saw_clear(record)
        elif topic in ACCOUNT_TOPICS and record.partition == self._partition:
            self._saw_account(record)
        elif topic == "account-states":
            self._saw_state(record)
        elif topic == "journal" and self.settings is None:
            self.settings = settings_told(record)

    def missing(self) -> list[str]:
        lacking = []
        for topic in EVIDENCE_OF:
            named = self._expected.place(topic)
            if topic not in REFERENCE_TOPICS and named is not None and self._ends.get(topic, -1) < named[1]:
                lacking.append(f"{topic}[{named[0]}]@{named[1]}")
        ticks = self._expected.ticks.items()
        lacking += [f"prices[{place[0]}]@{place[1]} of {name}" for name, place in ticks if name not in self._ticks]
        return lacking + self._references.missing(self._expected)

    def case(self, order: Order) -> Case:
        is_claimed = order.epoch > 0 or self._claim is not None
        return Case(
            order=order, partition=0, reference=self._references.seen_by(self._expected, order.ts_ms),
            ticks=list(self._ticks.values()), claimed=is_claimed,
        )  # fmt: skip

    def account_records(self, cut: int) -> Iterator[Record]:
        """The account's own records, without orders of a distress that was over at `cut`, then the orders under way."""
        over = self._over()
        for record in self._account:
            if record.topic != ORDERS:
                yield _in_order(record)
                continue
            order = decode(ORDERS, record.value)
            if isinstance(order, Order):
                if order.bucket == self._order.bucket and order.ts_ms < cut and order.order_id in over:
                    continue
                yield _in_order(record, structs.replace(order, epoch=self._order.epoch))
        named = self._expected.place(ORDERS)
        for record, order in self._after:
            if (
                order.epoch == self._order.epoch
                and order.order_id != self._order.order_id
                and self._is_before(record, order)
            ):
                yield structs.replace(
                    _in_order(record), offset=record.offset if named is None else named[1], timestamp_ms=order.ts_ms
                )  # known when it was decided, not when it was written

    def cuts(self) -> list[int]:
        """When the bucket's distress may have begun: as its recorded states say, else with any of its orders."""
        told = [max(self._recoveries)] if self._recoveries else []
        orders = [decode(ORDERS, record.value) for record in self._account if record.topic == ORDERS]
        tries = [o.ts_ms + 1 for o in orders if isinstance(o, Order) and o.bucket == self._order.bucket]
        return list(dict.fromkeys([*told, 0, *reversed(tries)]))

    def _saw_account(self, record: Record) -> None:
        if record.topic not in self._begun:
            self._begun.add(record.topic)
            if record.offset:
                self.cut_off.append(f"{record.topic}[{record.partition}] before @{record.offset}")
        message = decode(record.topic, record.value)
        if record.topic == ORDERS:
            self._ends[ORDERS] = record.offset
            if isinstance(message, Claim):
                self._claim = record.offset
                return
        if getattr(message, "account", None) != self._order.account:
            return
        self._ends[record.topic] = max(self._ends.get(record.topic, -1), record.offset)
        if isinstance(message, Order):
            if message.order_id == self._order.order_id:
                self.place = self.place or (record.partition, record.offset)
                self.first = self.first or message
            if message.epoch != (0 if self._claim is None else self._claim):
                return
        limit = self._expected.place(record.topic) if record.topic in EVIDENCE_OF else None
        if limit is not None and record.offset <= limit[1]:
            self._account.append(record)
        elif isinstance(message, Order) and message.order_id not in self._known:
            self._after.append((record, message))
        if isinstance(message, Order):
            self._known.add(message.order_id)

    def _saw_clear(self, record: Record) -> None:
        """A clear settles the doubts that there were when it was read."""
        named = self._expected.place("controls")
        message = decode(record.topic, record.value) if record.topic == "controls" else None
        if (
            isinstance(message, Control)
            and message.action == "clear"
            and named is not None
            and record.offset <= named[1]
        ):
            self._account.append(record)

    def _saw_state(self, record: Record) -> None:
        message = decode(record.topic, record.value)
        if not isinstance(message, AccountState) or message.ts_ms > self._order.ts_ms:
            return
        is_own = (message.account, message.bucket) == (self._order.account, self._order.bucket)
        if is_own and message.previous_status in DISTRESSED and message.status not in DISTRESSED:
            self._recoveries.append(message.ts_ms)

    def _is_before(self, record: Record, order: Order) -> bool:
        if self.place is not None:
            return record.offset < self.place[1]
        return order.ts_ms <= self._order.ts_ms

    def _over(self) -> set[str]:
        """Orders of which an event says that they ended."""
        events = (decode(r.topic, r.value) for r in self._account if r.topic == "order-events")
        return {event.order_id for event in events if isinstance(event, OrderEvent) and event.status in TERMINAL}


def _in_order(record: Record, order: Order | None = None) -> Record:
    """Partition 0, where a reference without partitions looks for claims; an order under the epoch that is looked at."""
    return structs.replace(record, partition=0, value=record.value if order is None else encode(order))


def _not_decided(answer: Answer | None) -> str:
    view = None if answer is None else answer.view
    if view is None:
        return "the reference orders nothing: it does not know the bucket"
    return f"the reference orders nothing: the bucket is {view.status}, equity {view.equity}, maintenance {view.maintenance_margin}"
