"""The venue: it writes what clients do, moves the marks, and executes liquidation orders by the rules of the contract.

It stands for everything around the monitor and is reliable itself; what it publishes may be slow, doubled, or out of order among topics.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.contracts.answers import answer_to
from services.contracts.codec import decode, encode
from services.contracts.decimals import ONE, parse, to_text
from services.contracts.identifiers import partition_of
from services.contracts.messages import Claim, Order
from services.contracts.records import Record
from tests.simulation.kafka import Broker
from tests.simulation.loop import VirtualLoop, true_ms

ORDERS = "liquidation-orders"
INSTRUMENTS = ("BTC-PERP", "ETH-PERP")
MAINTENANCE = "0.05"
TAKER = "0.0005"
Key = tuple[str, str, str]  # account, bucket, instrument


@dataclass
class Client:
    """One account: its bucket for each instrument, and what it tends to do."""

    name: str
    isolated: bool
    bold: bool

    def bucket(self, instrument: str) -> str:
        return instrument if self.isolated else "main"


@dataclass
class Gate:
    """What a matching engine keeps to act on orders once: the latest claim of each partition, and the ids it executed."""

    epochs: dict[int, int] = field(default_factory=dict)
    executed: dict[str, Any] = field(default_factory=dict)  # order id -> its last order event
    open: dict[str, Order] = field(default_factory=dict)


class Venue:
    """Runs on timers of the loop, outside of all processes."""

    def __init__(self, loop: VirtualLoop, broker: Broker, draw: random.Random, accounts: int) -> None:
        self.loop = loop
        self.broker = broker
        self.draw = draw
        self.clients = [Client(f"a-{number}", draw.random() < 0.3, draw.random() < 0.6) for number in range(accounts)]
        self.marks = dict.fromkeys(INSTRUMENTS, 1000.0)
        self.positions: dict[Key, int] = {}
        self.gate = Gate()
        self.executions: Counter[str] = Counter()
        self.halted = False  # the matching engine says nothing
        self.calm = False
        self.void = 0  # orders that were not under the latest claim
        self.poisons: list[Record] = []
        self._read: dict[int, int] = {}  # partition -> next offset of the orders topic
        self._number = 0
        broker.on_append.append(self._saw)

    # -- what clients do -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Specifications, accounts, deposits, first marks."""
        for name in INSTRUMENTS:
            self._put("instruments", name, {
                "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": name[:3], "settlement_asset": "USDT",
                "margin_tiers": [{"notional_floor": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": MAINTENANCE}],
                "tick_size": "0.1", "lot_size": "0.001", "taker_fee_rate": TAKER, "max_price_age_ms": 3_000,
                "max_price_move": "0.2", "insurance_pool": "pool" if name == "BTC-PERP" else None,
            })  # fmt: skip
        for client in self.clients:
            mode = "isolated" if client.isolated else "cross"
            self._put("accounts", client.name, {
                "account": client.name, "margin_mode": mode, "valuation_asset": "USDT", "client": f"c-{client.name}",
            })  # fmt: skip
            for bucket in {client.bucket(name): None for name in INSTRUMENTS}:
                self._transfer(client, bucket, self.draw.randint(60, 400))
        for name in INSTRUMENTS:
            self._price(name)

    def start(self) -> None:
        self.loop.later(0.05, self._tick)
        self.loop.later(0.2, self._trade)

    def _tick(self) -> None:
        """Marks walk, sometimes fall or rise by some percent, and are told every 100 ms or so."""
        for name in INSTRUMENTS:
            if not self.calm:
                step = self.draw.gauss(0, 0.004) if self.draw.random() < 0.95 else self.draw.uniform(-0.12, 0.12)
                self.marks[name] = min(3000.0, max(300.0, self.marks[name] * (1 + step)))
            self._price(name)
        self.loop.later(self.draw.uniform(0.08, 0.25), self._tick)

    def _price(self, name: str) -> None:
        self._put(
            "prices",
            name,
            {"instrument": name, "mark_price": f"{self.marks[name]:.1f}", "source": "venue", "ts_ms": self._now()},
        )

    def _trade(self) -> None:
        """Two clients trade with each other, or one pays in or out."""
        if not self.calm:
            client, draw = self.draw.choice(self.clients), self.draw
            name = draw.choice(INSTRUMENTS)
            if draw.random() < 0.2:
                self._transfer(client, client.bucket(name), draw.choice((50, 100, 200, -20)))
            else:
                other = draw.choice([each for each in self.clients if each is not client])
                quantity = draw.choice(("0.1", "0.5", "1", "2"))
                side = draw.choice(("buy", "sell"))
                self._fill(client, name, side, quantity)
                self._fill(other, name, "sell" if side == "buy" else "buy", quantity)
        self.loop.later(self.draw.expovariate(1 / 0.15), self._trade)

    def _fill(self, client: Client, instrument: str, side: str, quantity: str) -> None:
        price = f"{self.marks[instrument]:.1f}"
        self._book(client, instrument, side, quantity, price, {"exec_type": "trade"})

    def _book(  # noqa: PLR0917  # an execution is these numbers
        self, client: Client, instrument: str, side: str, quantity: str, price: str, more: dict[str, Any]
    ) -> None:
        bucket = client.bucket(instrument)
        key, signed = (client.name, bucket, instrument), parse(quantity) * (1 if side == "buy" else -1)
        fee = -(-abs(signed) * parse(price) * parse(TAKER) // ONE**2)
        self.positions[key] = self.positions.get(key, 0) + signed
        self._number += 1
        self._put_slowly("fills", client.name, {
            "fill_id": f"f-{self._number}", "account": client.name, "bucket": bucket, "instrument": instrument, "side": side,
            "quantity": quantity, "price": price, "fee": to_text(fee), "ts_ms": self._now(), **more,
        })  # fmt: skip

    def _transfer(self, client: Client, bucket: str, amount: int) -> None:
        self._number += 1
        self._put_slowly("transfers", client.name, {
            "transfer_id": f"t-{self._number}", "account": client.name, "bucket": bucket, "asset": "USDT", "amount": str(amount),
            "reason": "deposit" if amount > 0 else "withdrawal", "ts_ms": self._now(),
        })  # fmt: skip

    def rescue(self) -> None:
        """Money for who is short, so that there is something to do for a while."""
        for client in self.clients:
            if self.draw.random() < 0.3:
                self._transfer(client, client.bucket(self.draw.choice(INSTRUMENTS)), 200)

    def poison(self) -> None:
        """A record in `fills` that nobody can read: of no account, or of one whose bucket it puts in doubt."""
        partition = self.draw.randrange(self.broker.partitions)
        value = self.draw.choice((b"{", b"\xff\xfe", b'{"fill_id":"x"}'))
        self.broker.append("fills", partition, None, value)
        self.poisons.append(self.broker.log("fills", partition)[-1])

    # -- liquidation orders ----------------------------------------------------------------------------------------------

    def _saw(self, record: Record) -> None:
        if record.topic == ORDERS:
            self.loop.later(self.draw.expovariate(1 / 0.01), self._receive, record)

    def _receive(self, record: Record) -> None:
        """Records of a partition may be seen late, never out of order: what comes after waits for what came before."""
        log = self.broker.log(ORDERS, record.partition)
        position = self._read.get(record.partition, 0)
        for each in log[position : record.offset + 1]:
            self._judge(each)
        self._read[record.partition] = max(position, record.offset + 1)

    def _judge(self, record: Record) -> None:
        message, gate = decode(ORDERS, record.value), self.gate
        if isinstance(message, Claim):
            gate.epochs[record.partition] = record.offset
            return
        if not isinstance(message, Order):
            return
        if gate.epochs.get(record.partition) != message.epoch:
            self.void += 1
            return
        if message.order_id in gate.executed:
            self._publish(message.account, gate.executed[message.order_id])
        elif self._now() >= message.valid_until_ms:
            if message.order_id not in gate.open:
                self._publish(message.account, encode(answer_to(message, "expired", "0", self._now(), reason="late")))
        elif message.order_id in gate.open:
            gate.open[message.order_id] = message
        elif self._reducible(message) <= 0:
            self._publish(
                message.account, encode(answer_to(message, "rejected", "0", self._now(), reason="no position"))
            )
        else:
            gate.open[message.order_id] = message
            self.loop.later(self.draw.expovariate(1 / 0.05), self._execute, message.order_id)

    def _reducible(self, order: Order) -> int:
        held = self.positions.get((order.account, order.bucket, order.instrument), 0)
        return max(0, held if order.side == "sell" else -held)

    def _execute(self, order_id: str) -> None:
        if self.halted:
            self.loop.later(0.2, self._execute, order_id)
            return
        order = self.gate.open.pop(order_id)
        quantity = min(parse(order.quantity), self._reducible(order))
        luck = 0.0 if self.calm else self.draw.random()
        if luck > 0.9 or quantity <= 0:
            quantity = 0
        elif luck > 0.7:
            quantity = max(parse("0.001"), quantity // 2 - quantity // 2 % parse("0.001"))
        whole = quantity == parse(order.quantity)
        event = encode(answer_to(order, "filled" if whole else "expired", to_text(quantity), self._now()))
        if quantity:
            self.executions[order_id] += 1
            self.gate.executed[order_id] = event
            kind = {"takeover": "takeover", "adl": "adl"}.get(order.stage, "liquidation")
            client = next(each for each in self.clients if each.name == order.account)
            self._book(
                client,
                order.instrument,
                order.side,
                to_text(quantity),
                order.limit_price,
                {"order_id": order_id, "exec_type": kind},
            )
        self._publish(order.account, event)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _publish(self, account: str, event: bytes) -> None:
        self.loop.later(self.draw.expovariate(1 / 0.02), self._append, "order-events", account, event)

    def _put_slowly(self, topic: str, key: str, value: dict[str, Any]) -> None:
        raw = orjson.dumps(value)
        self.loop.later(self.draw.expovariate(1 / 0.01), self._append, topic, key, raw)
        if self.draw.random() < 0.05:
            self.loop.later(self.draw.uniform(0, 1), self._append, topic, key, raw)  # told twice

    def _put(self, topic: str, key: str, value: dict[str, Any]) -> None:
        self._append(topic, key, orjson.dumps({"ts_ms": self._now()} | value))

    def _append(self, topic: str, key: str, value: bytes) -> None:
        broadcast = topic in ("instruments", "prices")
        partition = 0 if broadcast else partition_of(key, self.broker.partitions)
        self.broker.append(topic, partition, key.encode(), value)

    def _now(self) -> int:
        return true_ms(self.loop)
