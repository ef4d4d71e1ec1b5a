"""Scripts against the engine itself: events written down as words, crashes among them, and effects read back as words.

    Script().long().mark("909").check_effects("sell 0.067 at 908.8 partial #1", "healthy -> liquidating")

The log reads an order back at once unless the script says otherwise; timers fire when `wait` passes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from services.contracts.codec import encode
from services.contracts.identifiers import partition_of
from services.contracts.messages import AccountState, Default, Order
from services.contracts.records import Record
from services.contracts.topics import BROADCAST_TOPICS
from services.contracts.views import BucketView
from services.engine.effects import Alarm, DeadLetter, Effect, Emit
from services.engine.engine import Engine
from services.engine.portfolio import Preset
from services.engine.settings import Settings
from services.engine.state import Bucket
from services.reference.portfolio import PortfolioModel
from services.reference.reference import Reference
from services.replay.specification import presets_of
from tests.support.histories import comparable

START_MS = 1_700_000_000_000
ACCOUNT, BTC = "a-1", "BTC-PERP"


def words(effect: Effect) -> str:
    """An effect in a few words; the account is named where it is not the usual one."""
    if isinstance(effect, DeadLetter):
        return f"refused {effect.record.topic} {effect.refusal.reason}"
    if isinstance(effect, Alarm):
        return f"alarm {effect.name}"
    message, said = effect.message, ""
    if isinstance(message, Order):
        said = f"{message.side} {message.quantity} at {message.limit_price} {message.stage} #{message.attempt}"
    elif isinstance(message, AccountState):
        said = f"{message.previous_status} -> {message.status}"
    else:
        assert isinstance(message, Default), "the engine emits orders, states and defaults"
        said = f"missing {message.deficit} {message.asset}"
    return said if message.account == ACCOUNT else f"{message.account}: {said}"


class Script:
    """An engine, the log it reads, and the rows it saved. Every word answers the script, so that they chain."""

    def __init__(
        self, *, reads_back: bool = True, gates_open: bool = True, partitions: int | None = None,
        presets: Mapping[str, Preset] | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self._settings = Settings(account_partitions=partitions, **settings)
        self._reads_back = reads_back
        self._partitions = partitions
        self._presets = presets
        self._broadcasts: list[Record] = []
        self._tail: list[Record] = []
        self._log: list[Record] = []
        self._rows: dict[int, dict[str, bytes]] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._unread: list[Order] = []
        self._heard: list[Effect] = []
        self.effects: list[Effect] = []
        self.caught_up: list[Effect] = []  # what the last restart told while it read the tail
        self.at = 0
        self.engine = Engine(self._settings, presets, gates_open=gates_open, observe=True)

    # -- time and records ------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return START_MS + self.at

    def wait(self, milliseconds: int) -> Script:
        """Time passes; what becomes due on the way happens at its own time."""
        until = self.now + milliseconds
        while (due_ms := self.engine.next_timer_ms()) is not None and due_ms <= until:
            self.at = max(self.at, due_ms - START_MS)
            self._hear(self.engine.timer(due_ms))
        self.at = until - START_MS
        return self

    def put(self, topic: str, value: dict[str, Any] | bytes, *, key: str | None = None, partition: int = -1) -> Script:
        """Append a record now; a value without `ts_ms` is stamped now."""
        raw = value if isinstance(value, bytes) else orjson.dumps({"ts_ms": self.now} | value)
        if partition < 0:
            named = (key or ACCOUNT) if isinstance(value, bytes) else value.get("account", ACCOUNT)
            partition = self.partition(topic, named)
        record = self._append(topic, raw, partition, key)
        self._hear(self.engine.apply(record))
        return self

    def partition(self, topic: str, account: str) -> int:
        """Where a record of `account` lies."""
        sharded = self._partitions is not None and topic not in BROADCAST_TOPICS
        return partition_of(account, self._partitions or 1) if sharded else 0

    def _append(self, topic: str, raw: bytes, partition: int, key: str | None = None) -> Record:
        offset = self._offsets[topic, partition] = self._offsets.get((topic, partition), -1) + 1
        record = Record(
            topic=topic, partition=partition, offset=offset, timestamp_ms=self.now, value=raw,
            key=None if key is None else key.encode(),
        )  # fmt: skip
        (self._broadcasts if topic in BROADCAST_TOPICS else self._tail).append(record)
        self._log.append(record)
        return record

    def _hear(self, effects: list[Effect]) -> None:
        self._heard += effects
        self.effects += effects
        self._unread += [each.message for each in effects if isinstance(each, Emit) and isinstance(each.message, Order)]
        if self._reads_back:
            self.read_back()

    # -- what the engine says --------------------------------------------------------------------------------------

    def check_effects(self, *expected: str) -> Script:
        """Everything since the last check, in order."""
        said = [words(effect) for effect in self._heard]
        assert said == list(expected), f"at {self.at} ms: {said}"
        self._heard = []
        return self

    def check_reference(self) -> Script:
        """The independent reference, reading the same log, says the same. Not for scripts with restarts or shut gates."""
        valuator = PortfolioModel(presets_of(self._presets)) if self._presets is not None else None
        reference, said = Reference(self._settings, portfolio=valuator), list[Effect]()
        for time_ms, record in [*((each.timestamp_ms, each) for each in self._log), (self.now, None)]:
            while (due_ms := reference.next_timer_ms()) is not None and due_ms <= time_ms:
                said += reference.timer(due_ms)
            said += [] if record is None else reference.apply(record)
        assert list(comparable(self.effects)) == list(comparable(said))
        return self

    def check_nothing(self) -> Script:
        return self.check_effects()

    def forget(self) -> Script:
        """What was said so far is another script's matter."""
        self._heard = []
        return self

    @property
    def orders(self) -> list[Order]:
        """Every order so far, those sent again included."""
        return [each.message for each in self.effects if isinstance(each, Emit) and isinstance(each.message, Order)]

    @property
    def alarms(self) -> list[str]:
        return [effect.name for effect in self.effects if isinstance(effect, Alarm)]

    def view(self, bucket: str = BTC, account: str = ACCOUNT) -> BucketView:
        return next(each for each in self.engine.buckets() if (each.account, each.bucket) == (account, bucket))

    def bucket(self, name: str = BTC, account: str = ACCOUNT) -> Bucket:
        """The bucket's state, for what no view shows."""
        found = self.engine._context.find((account, name))
        assert found is not None, f"{account} has no bucket {name}"
        return found[1]

    # -- crashes ---------------------------------------------------------------------------------------------------

    def save(self) -> Script:
        """The rows of everything read so far are stored."""
        for partition in range(self._partitions or 1):
            stored = self._rows.setdefault(partition, {})
            for field, row in self.engine.take_dirty(partition).items():
                if row is None:
                    stored.pop(field, None)
                else:
                    stored[field] = row
        self._tail = []
        return self

    def restart(self) -> Script:
        """The process is lost: a new engine reads the broadcast topics, the stored rows, and what came after them."""
        self.engine = Engine(self._settings, self._presets, gates_open=False, observe=True)
        self._unread = []
        for record in self._broadcasts:
            self._fire_until(record.timestamp_ms)
            self.engine.apply(record)
        for partition, rows in self._rows.items():
            self.engine.restore(partition, rows.items())
        self.caught_up = [effect for record in self._tail for effect in self.engine.apply(record)]
        self._fire_until(self.now)
        for partition in range(self._partitions or 1):
            self._hear(self.engine.open_gate(partition))
        return self

    def _fire_until(self, time_ms: int) -> None:
        while (due_ms := self.engine.next_timer_ms()) is not None and due_ms <= time_ms:
            self.engine.timer(due_ms)

    def producer_fails(self) -> Script:
        """What was not read back was perhaps never written."""
        self._unread = []
        self.engine.forget_unconfirmed(0)
        return self

    # -- what a venue says -----------------------------------------------------------------------------------------

    def instrument(self, name: str = BTC, **changes: Any) -> Script:
        """Linear, one tier of 2 % initial and 1 % maintenance, tick 0.1, lot 0.001, a pool, no fees."""
        plain = {
            "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": "BTC", "settlement_asset": "USDT",
            "tick_size": "0.1", "lot_size": "0.001", "liquidation_fee_rate": "0", "insurance_pool": "pool",
            "margin_tiers": [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}],
        }  # fmt: skip
        return self.put("instruments", plain | changes)

    def collateral(self, asset: str = "BTC", **changes: Any) -> Script:
        return self.put("collateral", {"asset": asset, "price_instrument": f"{asset}-USDT"} | changes)

    def account(self, mode: str = "isolated", name: str = ACCOUNT, **changes: Any) -> Script:
        plain = {"account": name, "client": "c-1", "margin_mode": mode, "valuation_asset": "USDT"}
        return self.put("accounts", plain | changes)

    def transfer(self, amount: str, reason: str = "deposit", **changes: Any) -> Script:
        number = self._offsets.get(("transfers", 0), -1) + 1
        plain = {
            "transfer_id": f"t-{number}-{self.at}", "account": ACCOUNT, "bucket": BTC, "asset": "USDT",
            "amount": amount, "reason": reason,
        }  # fmt: skip
        return self.put("transfers", plain | changes)

    def fill(self, side: str, quantity: str, price: str, **changes: Any) -> Script:
        number = self._offsets.get(("fills", 0), -1) + 1
        plain = {
            "fill_id": f"f-{number}-{self.at}", "account": ACCOUNT, "instrument": BTC, "side": side,
            "quantity": quantity, "price": price,
        }  # fmt: skip
        return self.put("fills", plain | changes)

    def mark(self, price: str, instrument: str = BTC, **changes: Any) -> Script:
        return self.put("prices", {"instrument": instrument, "mark_price": price} | changes)

    def control(self, action: str, scope: str = "instrument", target: str = BTC, **changes: Any) -> Script:
        plain = {"control_id": f"k-{self.at}", "scope": scope, "target": target, "action": action}
        return self.put("controls", plain | changes)

    def read_back(self) -> Script:
        """The log answers the orders that were not read yet."""
        waiting, self._unread = self._unread, []
        for order in waiting:
            place = self.partition("liquidation-orders", order.account)
            self._hear(self.engine.apply(self._append("liquidation-orders", encode(order), place)))
        return self

    def claim(self, partition: int = 0) -> Script:
        """A worker claims the partition: the offset is the epoch of what follows."""
        return self.put(
            "liquidation-orders", {"type": "claim", "instance": "w-1", "nonce": f"n-{self.at}"}, partition=partition
        )

    def filled(self, quantity: str | None = None, price: str | None = None, order: Order | None = None) -> Script:
        """A fill of the last order (or of `order`): all of it at its limit where nothing else is said."""
        of = order or self.orders[-1]
        return self.fill(
            of.side, quantity or of.quantity, price or of.limit_price, account=of.account, bucket=of.bucket,
            instrument=of.instrument, position_side=of.position_side, order_id=of.order_id, exec_type="liquidation",
        )  # fmt: skip

    def answer(self, status: str, filled: str | None = None, order: Order | None = None) -> Script:
        """The venue's event about the last order (or `order`); "filled" is all of it where nothing else is said."""
        of = order or self.orders[-1]
        default = of.quantity if status == "filled" else "0"
        return self.put("order-events", {
            "order_id": of.order_id, "account": of.account, "bucket": of.bucket, "instrument": of.instrument,
            "attempt": of.attempt, "epoch": of.epoch, "status": status, "filled_quantity": filled or default,
        })  # fmt: skip

    def again(self, order: Order, **changes: Any) -> Script:
        """A record of the orders' topic with an order's content, changed: what another worker may have written."""
        return self.put("liquidation-orders", msgspec.to_builtins(order) | changes)

    # -- how scripts begin -----------------------------------------------------------------------------------------

    def long(self, quantity: str = "1", cash: str = "100", **instrument: Any) -> Script:
        """`cash` USDT and `quantity` bought at 1000; one at 100: under its requirement below 909.09, bankrupt at 900. Settled."""
        self.instrument(**instrument).account().mark("1000")
        return self.transfer(cash).fill("buy", quantity, "1000").wait(1_000).forget()

    def under(self, mark: str = "909") -> Script:
        """The usual long is liquidatable, and its first order is out."""
        return self.long().mark(mark).forget()
