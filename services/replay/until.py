"""Stopping a replay at one order, to look at what stood then: the bucket, its prices, the parameters and the gates."""

from typing import Any

import msgspec

from services.contracts.codec import decode
from services.contracts.messages import Claim, Collateral, Control, Instrument, Order, Price, RiskParameters
from services.contracts.records import Record
from services.engine.effects import Effect, Emit
from services.replay.engines import ReplayEngine
from services.replay.lines import ORDERS, bucket_line

KEPT = ("instruments", "collateral", "risk-parameters", "controls")


class Reached(Exception):
    """The order was decided, or was read from the recording."""

    def __init__(self, order: Order, *, is_recorded: bool) -> None:
        super().__init__(order.order_id)
        self.order, self.is_recorded = order, is_recorded


class Until:
    """Looks on until the order: raises `Reached` when the replay decides it, or when the recording's own copy comes by."""

    def __init__(self, order_id: str) -> None:
        self._order_id = order_id
        self._engine: ReplayEngine | None = None
        self._known: dict[str, dict[str, Record]] = {topic: {} for topic in KEPT}
        self._prices: dict[str, Record] = {}
        self._claims: dict[int, int] = {}

    def attach(self, engine: ReplayEngine) -> None:
        self._engine = engine

    def answered(self, record: Record) -> None:
        """What the matching says is in the engine's state."""

    def saw(self, record: Record) -> None:
        if record.topic == "prices":
            self._prices[_id_of(record)] = record
        elif record.topic in self._known:
            self._known[record.topic][_id_of(record)] = record
        elif record.topic == ORDERS:
            message = decode(ORDERS, record.value)
            if isinstance(message, Claim):
                self._claims[record.partition] = record.offset
            elif isinstance(message, Order) and message.order_id == self._order_id:
                raise Reached(message, is_recorded=True)

    def decided(self, effect: Effect) -> None:
        if isinstance(effect, Emit) and isinstance(effect.message, Order) and effect.message.order_id == self._order_id:
            raise Reached(effect.message, is_recorded=False)

    def state(self, reached: Reached) -> dict[str, Any]:
        """What stood at that moment. Ages are against the order's time; prices are those that were read, believed or not."""
        assert self._engine is not None, "somebody looks on at an engine"
        order = reached.order
        view = self._engine.view(order.account, order.bucket)
        names = set(order.evidence.prices or {}) | {order.instrument}
        ticks = [decode(r.topic, r.value) for name in sorted(names) if (r := self._prices.get(name)) is not None]
        return {
            "effect": "state",
            "from": "the recording" if reached.is_recorded else "the replay",
            "order": msgspec.to_builtins(order),
            "bucket": None if view is None else bucket_line(view),
            "prices": [
                {**msgspec.to_builtins(tick), "age_ms": order.ts_ms - tick.ts_ms}
                for tick in ticks
                if isinstance(tick, Price)
            ],
            "instruments": self._in_force("instruments", Instrument, names),
            "collateral": self._in_force("collateral", Collateral, None),
            "risk_parameters": self._in_force("risk-parameters", RiskParameters, names),
            "controls": self._in_force("controls", Control, None),
            "epochs": {str(partition): offset for partition, offset in sorted(self._claims.items())},
        }

    def _in_force(self, topic: str, kind: type, names: set[str] | None) -> list[dict[str, Any]]:
        """The last record of each id that was read."""
        records = self._known[topic]
        found = [decode(topic, records[name].value) for name in sorted(records) if names is None or name in names]
        return [msgspec.to_builtins(message) for message in found if isinstance(message, kind)]


def _id_of(record: Record) -> str:
    message = decode(record.topic, record.value)
    if isinstance(message, Collateral):
        return message.asset
    if isinstance(message, Control):
        return f"{message.scope}:{message.target}"
    return str(getattr(message, "instrument", ""))
