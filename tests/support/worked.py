"""A recording with orders in it: a worker reads a history in an order of its own, and the log keeps what everybody wrote.

Topics are read independently, a few records at a time; orders are read back late and answered later; now and then the worker
loses its shard and claims it again. The recording is the log, in the order in which it was written: not in the order in which the
worker read it.
"""

from __future__ import annotations

import random

import orjson

from services.adapters.recordings import Start
from services.contracts.codec import encode
from services.contracts.messages import Claim, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS
from services.engine.effects import Effect, Emit
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.support.histories import History

ORDERS = "liquidation-orders"
FILLED, EXPIRED = 0.6, 0.9  # of the answers: filled below the first, silent above the second


class Worked:
    """Plays one history. `log` is the recording."""

    def __init__(self, history: History, seed: int, settings: Settings, *, start_after: int | None = None) -> None:
        """`start_after` so many events the rows are stored: `from_start` is the recording from there on, `start` its state."""
        self.start: Start | None = None
        self._stored: dict[str, int] = {}
        self.log: list[Record] = []
        self.engine = Engine(settings, gates_open=False)
        self._dice = random.Random(seed)
        self._topics: dict[str, list[Record]] = {}
        self._read: dict[str, int] = {}
        self._unanswered: list[Order] = []
        self._now_ms = history.events[0].time_ms
        self._claim()
        for number, event in enumerate(history.events):
            if number == start_after:
                self._store()
            self._now_ms = max(self._now_ms, event.time_ms)
            self._append(
                event.topic,
                event.time_ms,
                orjson.dumps(event.value),
                str(event.account or event.value.get("instrument", "")),
            )
            if self._dice.random() < 0.6:
                self._work()
        for _ in range(20):
            self._work()

    @property
    def from_start(self) -> list[Record]:
        """Reference data and prices whole, account topics from what the stored rows hold."""
        return [r for r in self.log if r.topic in BROADCAST_TOPICS or r.offset >= self._stored.get(r.topic, 0)]

    def _store(self) -> None:
        rows = [(field, row) for field, row in self.engine.take_dirty(0).items() if row is not None]
        claim = self.engine.epoch(0)
        self.start = Start(taken_ms=self._now_ms, rows={0: rows}, claims={0: -1 if claim is None else claim})
        self._stored = {topic: read for topic, read in self._read.items() if topic in ACCOUNT_TOPICS}

    def _append(self, topic: str, time_ms: int, value: bytes, key: str) -> None:
        written = self._topics.setdefault(topic, [])
        record = Record(
            topic=topic, partition=0, offset=len(written), timestamp_ms=time_ms, key=key.encode(), value=value
        )
        written.append(record)
        self.log.append(record)

    def _claim(self) -> None:
        self.engine.shut_gate(0)
        self._append(ORDERS, self._now_ms, encode(Claim(instance="w-1", nonce="n", ts_ms=self._now_ms)), "claim:0")

    def _work(self) -> None:
        """Some of some topics, time, the venue, and rarely another claim."""
        for topic in self._dice.sample(sorted(self._topics), len(self._topics)):
            if self._dice.random() < 0.7:
                self._read_some(topic, self._dice.randint(1, 6))
        if self._dice.random() < 0.5:
            self._carry_out(self.engine.timer(self._now_ms))
        self._answer()
        if self._dice.random() < 0.02:
            self._claim()

    def _read_some(self, topic: str, count: int) -> None:
        first = self._read.get(topic, 0)
        for record in self._topics[topic][first : first + count]:
            self._read[topic] = record.offset + 1
            self._carry_out(self.engine.apply(record))
            if topic == ORDERS and b'"type":"claim"' in record.value:
                self.engine.forget_unconfirmed(0)
                if record.offset == max(r.offset for r in self._topics[ORDERS] if b'"type":"claim"' in r.value):
                    self._carry_out(self.engine.open_gate(0))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, Emit):
                continue
            self._append(effect.topic, self._now_ms, encode(effect.message), effect.key)
            if isinstance(effect.message, Order):
                self._unanswered.append(effect.message)

    def _answer(self) -> None:
        while self._unanswered and self._dice.random() < 0.5:
            order, luck = self._unanswered.pop(0), self._dice.random()
            filled = order.quantity if luck < FILLED else "0"
            common = {
                "account": order.account,
                "bucket": order.bucket,
                "instrument": order.instrument,
                "ts_ms": self._now_ms,
            }
            event = common | {
                "order_id": order.order_id, "attempt": order.attempt, "filled_quantity": filled,
                "status": "filled" if luck < FILLED else "expired",
            }  # fmt: skip
            fill = common | {
                "fill_id": f"x{order.order_id[:20]}", "position_side": order.position_side, "side": order.side,
                "quantity": order.quantity, "price": order.limit_price, "order_id": order.order_id, "exec_type": "liquidation",
            }  # fmt: skip
            written = [("order-events", event)] if luck < EXPIRED else []
            if luck < FILLED and order.stage != "convert":
                written.append(("fills", fill))
            self._dice.shuffle(written)
            for topic, value in written:
                self._append(topic, self._now_ms, orjson.dumps(value), order.account)
