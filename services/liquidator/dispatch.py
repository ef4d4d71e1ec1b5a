"""Carrying out effects: messages to their topics, refused records whole to the dead letters, alarms to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple, Protocol

from services.adapters.ports import Clock, Headers, Logger, Meter, Outgoing
from services.adapters.rate_limit import RateLimit
from services.adapters.tracing import Arrived
from services.contracts.codec import encode
from services.contracts.journal import JOURNAL
from services.contracts.messages import Claim, Default, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS, BY_NAME, SHADOW_ORDERS
from services.engine.effects import Alarm, Cause, DeadLetter, Effect, Emit
from services.liquidator.order_watch import OrderWatch
from services.liquidator.outbox import Item, Kind, Outbox
from services.liquidator.shard import ORDERS, Shard

DEAD_LETTERS: Final = "dead-letters"
ALARM_LOG_EVERY_S: Final = 10.0
MOST_DEAD_BYTES: Final = 900_000  # of key and value: the smallest usual limit of a request is 1 MiB, headers included


@dataclass(frozen=True)
class TopicNames:
    """The names of the topics on the broker: a configured prefix, and in shadow mode another topic for the orders."""

    prefix: str = ""
    shadow: bool = False

    def physical(self, logical: str) -> str:
        name = SHADOW_ORDERS if self.shadow and logical == ORDERS else logical
        return f"{self.prefix}{name}"

    def accounts(self) -> dict[str, str]:
        """Physical to logical, of the account topics."""
        return {self.physical(topic): topic for topic in ACCOUNT_TOPICS}

    def broadcasts(self) -> dict[str, str]:
        """Physical to logical, of the topics that every worker reads."""
        return {self.physical(topic): topic for topic in BROADCAST_TOPICS}


@dataclass(frozen=True, slots=True)
class Arrival:
    """The records that are being folded, and when (monotonic) they reached us."""

    records: Sequence[Record]
    at: float
    traceparents: Mapping[int, bytes] = field(default_factory=dict)  # by offset, of those that carried one

    def ends_with(self, cause: Cause) -> bool:
        """Whether nothing was folded after the record that made an effect due."""
        last = self.records[-1]
        return (last.topic, last.partition, last.offset) == (cause.topic, cause.partition, cause.offset)

    def caused_ms(self, topic: str, offset: int) -> int | None:
        """Broker time of one of them."""
        return next((r.timestamp_ms for r in self.records if r.offset == offset and r.topic == topic), None)


class Alarms:
    """Counts every alarm, and logs each name at most once in a while: a flood must not hide the rest."""

    def __init__(self, clock: Clock, log: Logger, meter: Meter) -> None:
        self._clock = clock
        self._log = log
        self._meter = meter
        self._limit = RateLimit(1, ALARM_LOG_EVERY_S)

    def sound(self, name: str, **fields: object) -> None:
        self._meter.alarm(name)
        held = self._limit.admit(name, self._clock.monotonic())
        if held is not None:
            self._log.error("alarm", name=name, held_back=held, **fields)


class _Due(NamedTuple):
    """What made orders due, and whether nothing was folded after it."""

    cause: Cause
    arrived: Arrived
    is_fresh: bool


class MayGo(Protocol):
    """Whether an order leaves now; `is_fresh`: nothing was folded since it was decided."""

    def __call__(self, shard: Shard, order: Order, /, *, is_fresh: bool) -> bool: ...


class KeepsBack(Protocol):
    """Whether an effect that is no order is not written now, because the shard is another worker's."""

    def __call__(self, shard: Shard | None, effect: Effect, /) -> bool: ...


def _nothing(_shard: Shard | None, _effect: Effect, /) -> bool:
    return False


def _everything(_shard: Shard, _order: Order, *, is_fresh: bool) -> bool:  # noqa: ARG001  # the protocol's
    return True


class Dispatch:
    """Turns effects into items of the outbox and keeps the shards' books of what is under way."""

    def __init__(
        self,
        *,
        names: TopicNames,
        outbox: Outbox,
        shards: Mapping[int, Shard],
        clock: Clock,
        meter: Meter,
        alarms: Alarms,
        orders: OrderWatch,
    ) -> None:
        self._names = names
        self._orders = orders
        self._outbox = outbox
        self._shards = shards
        self._clock = clock
        self._meter = meter
        self._alarms = alarms
        self._number = 0
        self._now_ms, self._now = 0, 0.0  # when the effects came that are being carried out
        self._waits: Counter[tuple[str, str, int]] = Counter()  # trigger, stage, milliseconds -> their orders
        self._due: _Due | None = None  # the newest: a storm of orders shares one
        self.may_go: MayGo = _everything  # what is kept back here is decided again
        self.keeps_back: KeepsBack = _nothing
        self._handlers: dict[type, Callable[..., None]] = {
            Emit: self._emit,
            DeadLetter: self._dead_letter,
            Alarm: self._alarm,
        }

    @property
    def last_number(self) -> int:
        """Number of the newest item: everything sent so far has this one or a smaller."""
        return self._number

    def carry_out(self, effects: Sequence[Effect], arrival: Arrival | None = None) -> None:
        """Queue, count and log what the engine wants done."""
        before = self._number
        self._now_ms, self._now, self._due = self._clock.now_ms(), self._clock.monotonic(), None
        for effect in effects:
            self._handlers[type(effect)](effect, arrival)
        for (trigger, stage, waited_ms), count in self._waits.items():
            self._meter.order(trigger, stage, waited_ms / 1000, count)
        self._waits.clear()
        if arrival is not None and self._number > before:
            self._meter.decided(self._clock.monotonic() - arrival.at)

    def claim(self, shard: Shard, claim: Claim) -> None:
        """Queue a claim of the shard's partition."""
        outgoing = self._outgoing(ORDERS, shard.partition, f"claim:{shard.partition}", encode(claim))
        self._put(Kind.CLAIM, shard, claim.nonce, outgoing)

    def journal(self, shard: Shard | None, partition: int, session: str, value: bytes) -> None:
        """Queue a record of the journal; the store of `shard` waits for it."""
        self._put(Kind.OTHER, shard, "", self._outgoing(JOURNAL, partition, session, value))

    def _emit(self, effect: Emit, arrival: Arrival | None) -> None:
        message = effect.message
        if isinstance(message, Order):
            self._order(effect, message, arrival)
            return
        shard = self._shards.get(effect.partition) if effect.partition is not None else None
        if isinstance(message, Default):
            shard = self._shards.get(effect.cause.partition)  # where its order was read: that store waits for it
        if self.keeps_back(shard, effect):
            return
        if isinstance(message, Default):
            self._meter.deficit(message.asset, float(message.deficit))
        if not self._names.shadow:
            outgoing = self._outgoing(effect.topic, effect.partition, effect.key, encode(message))
            self._put(Kind.OTHER, shard, "", outgoing)

    def _order(self, effect: Emit, order: Order, arrival: Arrival | None) -> None:
        shard = self._shards.get(effect.partition) if effect.partition is not None else None
        if shard is None or not shard.loaded:
            return  # given up while the event was half done: whoever takes it over decides
        due = self._due
        if due is None or due.cause is not effect.cause:
            is_fresh = arrival is None or arrival.ends_with(effect.cause)
            due = self._due = _Due(effect.cause, self._arrived(effect.cause, arrival), is_fresh)
        if not self.may_go(shard, order, is_fresh=due.is_fresh):
            return
        due_ms = due.arrived.timestamp_ms
        if due_ms is None:
            due_ms = self._now_ms  # what time made due is counted from now
        self._waits[order.trigger, order.stage, max(0, self._now_ms - due_ms)] += 1
        context = self._orders.decided(order, due.arrived)
        outgoing = self._outgoing(effect.topic, effect.partition, effect.key, encode(order), context)
        self._put(Kind.ORDER, shard, order.order_id, outgoing, due_ms)
        shard.outstanding[order.order_id] = (self._number, self._now)

    def _arrived(self, cause: Cause, arrival: Arrival | None) -> Arrived:
        """The record that made an order due, with its times; of a timer its place only."""
        if arrival is None:
            return Arrived(cause.topic, cause.partition, cause.offset)
        waited_ms = round((self._now - arrival.at) * 1000)
        return Arrived(
            cause.topic, cause.partition, cause.offset, arrival.caused_ms(cause.topic, cause.offset),
            self._now_ms - waited_ms, arrival.traceparents.get(cause.offset),
        )  # fmt: skip

    def _dead_letter(self, effect: DeadLetter, _: Arrival | None) -> None:
        record, refusal = effect.record, effect.refusal
        shard = self._shards.get(record.partition) if record.topic in ACCOUNT_TOPICS else None
        if self.keeps_back(shard, effect):
            return
        self._meter.refused(refusal.reason)
        self._alarms.sound(
            "record_refused", reason=refusal.reason, detail=refusal.detail, topic=record.topic,
            partition=record.partition, offset=record.offset,
        )  # fmt: skip
        if self._names.shadow:
            return
        headers = (
            ("reason", str(refusal.reason).encode()),
            ("detail", refusal.detail.encode()),
            ("topic", self._names.physical(record.topic).encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
            ("timestamp-ms", str(record.timestamp_ms).encode()),
        )
        key, value, cut = _that_fits(record)
        dead_letter = Outgoing(self._names.physical(DEAD_LETTERS), 0, key, value, (*headers, *cut))
        self._put(Kind.OTHER, shard, "", dead_letter)

    def _alarm(self, effect: Alarm, _: Arrival | None) -> None:
        self._alarms.sound(
            effect.name, account=effect.account, bucket=effect.bucket, instrument=effect.instrument, detail=effect.detail,
            ts_ms=effect.ts_ms,
        )  # fmt: skip

    def _put(
        self, kind: Kind, shard: Shard | None, ident: str, outgoing: Outgoing, caused_ms: int | None = None
    ) -> None:
        self._number += 1
        if kind is Kind.OTHER and shard is not None:
            shard.unacked[self._number] = None
        partition = shard.partition if shard is not None else None
        self._outbox.put(Item(self._number, kind, partition, ident, outgoing, caused_ms))

    def _outgoing(self, topic: str, partition: int | None, key: str, value: bytes, context: Headers = ()) -> Outgoing:
        headers = _headers(topic)
        return Outgoing(
            self._names.physical(topic), partition, key.encode(), value, (*headers, *context) if context else headers
        )


def _that_fits(record: Record) -> tuple[bytes | None, bytes, Headers]:
    """Key and value of a dead letter, whole if the topic takes them with headers beside: else their beginnings, and their lengths.

    A record that fills a request of its own would otherwise end every worker that reads it.
    """
    key, value = record.key, record.value
    if len(key or b"") + len(value) <= MOST_DEAD_BYTES:
        return key, value, ()
    key = None if key is None else key[: MOST_DEAD_BYTES // 2]
    whole = f"{len(record.key or b'')}+{len(record.value)}".encode()
    return key, value[: MOST_DEAD_BYTES - len(key or b"")], (("whole-bytes", whole),)


@cache
def _headers(topic: str) -> Headers:
    schema = BY_NAME[topic].schema
    content: Headers = (("content-type", b"application/json"),)
    return (*content, ("schema", schema.encode())) if schema is not None else content
