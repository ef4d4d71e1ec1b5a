"""Messages with defaults, and an engine that says what it is told to say and keeps what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from services.contracts.codec import encode
from services.contracts.identifiers import order_id
from services.contracts.messages import Account, Collateral, Evidence, Instrument, MarginTier, Message, Order, Price
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Cause, Effect, Emit
from services.engine.quiet import Ticks

TOPIC_OF = {Instrument: "instruments", Collateral: "collateral", Account: "accounts", Price: "prices"}


def instrument(name: str = "BTC-PERP", **changes: Any) -> Instrument:
    fields: dict[str, Any] = {
        "instrument": name,
        "kind": "perpetual",
        "contract": "linear",
        "underlying": "BTC",
        "settlement_asset": "USDT",
        "margin_tiers": [MarginTier(notional_floor="0", initial_margin_rate="0.02", maintenance_margin_rate="0.01")],
        "taker_fee_rate": "0.001",
        "liquidation_fee_rate": "0.005",
    }
    return Instrument(**fields | changes)


def price(mark: str, name: str = "BTC-PERP", ts_ms: int = 0) -> Price:
    return Price(instrument=name, mark_price=mark, ts_ms=ts_ms)


def order(**changes: Any) -> Order:
    """Sell 2 of 5 BTC-PERP of a-1 at 95 or better, decided at mark 100 with an equity of 50."""
    fields: dict[str, Any] = {
        "epoch": 0,
        "account": "a-1",
        "client": "c-1",
        "bucket": "BTC-PERP",
        "instrument": "BTC-PERP",
        "position_side": "net",
        "side": "sell",
        "quantity": "2",
        "order_type": "limit",
        "time_in_force": "ioc",
        "limit_price": "95",
        "reduce_only": True,
        "cancel_resting": "instrument",
        "block_opening": True,
        "valid_until_ms": 2_000,
        "stage": "partial",
        "trigger": "maintenance_breach",
        "attempt": 1,
        "position_quantity": "5",
        "mark_price": "100",
        "liquidation_price": "101",
        "bankruptcy_price": "90",
        "equity": "50",
        "maintenance_margin": "60",
        "projected_equity": "40",
        "projected_maintenance_margin": "36",
        "evidence": Evidence(),
        "ts_ms": 0,
    } | changes
    own_id = order_id(fields["account"], fields["bucket"], fields["instrument"], fields["attempt"])
    return Order(**{"order_id": own_id} | fields)


def record(topic: str, value: Message | bytes, *, offset: int = 0, time_ms: int = 0, partition: int = 0) -> Record:
    raw = value if isinstance(value, bytes) else encode(value)
    return Record(topic=topic, partition=partition, offset=offset, timestamp_ms=time_ms, key=None, value=raw)


def of(message: Message, *, offset: int = 0, time_ms: int = 0) -> Record:
    """The record of a broadcast or account message in its own topic."""
    return record(TOPIC_OF[type(message)], message, offset=offset, time_ms=time_ms)


def emit(message: Message, topic: str = "liquidation-orders", cause: Cause | None = None, partition: int = 0) -> Emit:
    cause = Cause("prices", 0, 0) if cause is None else cause
    return Emit(cause=cause, topic=topic, key="a-1", partition=partition, message=message)


class FakeEngine:
    """`says` answers the effects of a record; `due` are its timers. `heard` is every record and timer it was given."""

    def __init__(self, says: Callable[[Record], list[Effect]] = lambda _: [], due: list[int] | None = None) -> None:
        self._says, self._due = says, sorted(due or [])
        self.heard: list[Record | int] = []
        self.views: list[BucketView] = []
        self.hash = "00"
        self.lowest_equity: str | None = None
        self.lowest_equity_bucket: str | None = None
        self.negative_buckets: set[tuple[str, str]] = set()

    def apply(self, record: Record) -> list[Effect]:
        self.heard.append(record)
        return self._says(record)

    def fold_quiet(self, ticks: Ticks, at: int, before_ms: float) -> int:  # noqa: ARG002 - it wants to hear everything
        return at

    def timer(self, time_ms: int) -> list[Effect]:
        self.heard.append(time_ms)
        self._due = [due for due in self._due if due > time_ms]
        return self._says(record("timer", b"", offset=time_ms))

    def next_timer_ms(self) -> int | None:
        return min(self._due, default=None)

    def buckets(self) -> Iterator[BucketView]:
        return iter(self.views)

    def places(self) -> Iterator[tuple[str, str]]:
        return ((view.account, view.bucket) for view in self.views)

    def state_hash(self) -> str:
        return self.hash
