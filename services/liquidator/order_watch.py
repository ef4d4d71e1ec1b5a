"""What became of the newest orders, for `/statusz`; and the tracing of all of them, where that is switched on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from services.adapters.ports import Clock, Headers
from services.adapters.tracing import Arrived, Tracer
from services.contracts.messages import Order
from services.contracts.records import Record
from services.contracts.status import ORDERS_SHOWN, OrderStatus
from services.engine.context import TIMER_CAUSE

HEARD: Final = 10_000  # accounts whose newest traced record is remembered
HEARD_MS: Final = 10_000  # and for how long


class _Known(Struct):
    """Told often, asked for rarely: written out only when it is."""

    order: Order
    decided_ms: int
    caused_ms: int | None
    acknowledged_ms: int | None = None
    offset: int | None = None

    def shown(self) -> OrderStatus:
        order = self.order
        return OrderStatus(
            order_id=order.order_id, account=order.account, bucket=order.bucket, instrument=order.instrument,
            side=order.side, quantity=order.quantity, limit_price=order.limit_price, stage=order.stage,
            trigger=order.trigger, attempt=order.attempt, decided_ms=self.decided_ms, caused_ms=self.caused_ms,
            acknowledged_ms=self.acknowledged_ms, offset=self.offset,
        )  # fmt: skip


class OrderWatch:
    """Told of every order when it is decided, acknowledged, or when its fate became unknown."""

    def __init__(self, clock: Clock, tracer: Tracer) -> None:
        self._clock = clock
        self._tracer = tracer
        self._newest: OrderedDict[str, _Known] = OrderedDict()
        self._heard: OrderedDict[str, Arrived] = OrderedDict()
        self.decided_count = 0

    def heard(self, records: Sequence[Record], traceparents: Mapping[int, bytes]) -> None:
        """These records are folded now, some of them in traces. What they make due may be decided by a timer that they start."""
        now_ms = self._clock.now_ms()
        for record in records:
            context = traceparents.get(record.offset)
            if context is None or record.key is None:
                continue
            place = record.topic, record.partition, record.offset
            account = record.key.decode(errors="replace")
            self._heard.pop(account, None)
            self._heard[account] = Arrived(*place, record.timestamp_ms, now_ms, context)
            if len(self._heard) > HEARD:
                self._heard.popitem(last=False)

    def decided(self, order: Order, cause: Arrived) -> Headers:
        """The order is about to be queued; the answer are headers that carry the trace's context to its consumers."""
        self.decided_count += 1
        self._newest.pop(order.order_id, None)  # sent again: the newest word counts
        self._newest[order.order_id] = _Known(order, self._clock.now_ms(), cause.timestamp_ms)
        if len(self._newest) > ORDERS_SHOWN:
            self._newest.popitem(last=False)
        return self._tracer.decided(order, self._traced_cause(order, cause))

    def _traced_cause(self, order: Order, cause: Arrived) -> Arrived:
        """The account's newest traced record in the place of a timer, if it is recent."""
        if cause.topic != TIMER_CAUSE:
            return cause
        heard = self._heard.get(order.account)
        if heard is None or heard.arrived_ms is None or self._clock.now_ms() - heard.arrived_ms > HEARD_MS:
            return cause
        return heard

    def acknowledged(self, order_id: str, offset: int) -> None:
        """The broker has it at `offset`."""
        known = self._newest.get(order_id)
        if known is not None:
            known.acknowledged_ms, known.offset = self._clock.now_ms(), offset
        self._tracer.acknowledged(order_id, offset)

    def unknown(self, order_ids: Iterable[str]) -> None:
        """Neither acknowledged nor refused: a new claim settles it."""
        for order_id in order_ids:
            self._tracer.unknown(order_id)

    def newest(self) -> list[OrderStatus]:
        """Newest first."""
        return [known.shown() for known in reversed(self._newest.values())]
