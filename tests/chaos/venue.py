"""The venue of a chaos run: fills at a steady rate, marks that crash and come back, orders executed by the order gate's word.

It is reliable itself: what it books, it tells, in the order in which it booked it, and sometimes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from services.contracts.answers import answer_to
from services.contracts.codec import encode
from services.contracts.decimals import ONE, parse, to_text
from services.contracts.identifiers import partition_of
from services.contracts.messages import Order, OrderEvent
from services.contracts.topics import ACCOUNT_TOPICS, TOPICS
from services.order_gate.gate import ORDERS, Action, OrderGate, Verdict
from tests.integration.venue import now_ms
from tests.simulation.venue import INSTRUMENTS, MAINTENANCE, TAKER
from tests.support.kafka import create_topics

PARTITIONS = 4
DEPOSIT = 1_000
LOT = parse("0.001")
TICK_S = 0.1
TRADE_S = 0.02
SEND_TIMEOUT_MS = (
    240_000  # longer than a broker is ever away, also one that is slow to start: a batch that expires would be lost
)
CLOSE_S = 10.0
EXEC_TYPES = {"takeover": "takeover", "adl": "adl"}
Key = tuple[str, str, str]  # account, bucket, instrument


@dataclass
class Client:
    """One account: what it may hold in each bucket, as a multiple of its equity there, and what it tends to do."""

    name: str
    isolated: bool
    leverage: float
    buys: float  # how often

    def bucket(self, instrument: str) -> str:
        return instrument if self.isolated else "main"


@dataclass
class Path:
    """The marks: they wander around 1,000, and every few seconds one falls or rises by some percent within half a second."""

    draw: random.Random
    marks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(INSTRUMENTS, 1_000.0))
    crashes: int = 0
    _left: dict[str, tuple[int, float]] = field(default_factory=dict)  # instrument -> steps to go, each by so much

    def step(self) -> None:
        if not self._left and self.draw.random() < TICK_S / 4:
            self.crashes += 1
            jump = self.draw.choice((-1, -1, 1)) * self.draw.uniform(0.04, 0.10)
            self._left[self.draw.choice(INSTRUMENTS)] = (5, jump / 5)
        for name in INSTRUMENTS:
            steps, by = self._left.pop(name, (0, 0.0))
            if steps > 1:
                self._left[name] = (steps - 1, by)
            home = 0.02 * (1_000 / self.marks[name] - 1)
            self.marks[name] *= 1 + by + home + self.draw.gauss(0, 0.0008)

    def mark(self, name: str) -> int:
        return parse(self.text(name))

    def text(self, name: str) -> str:
        return f"{self.marks[name]:.1f}"


class Venue:
    """Runs in tasks of its own from `async with` to its end."""

    def __init__(self, bootstrap: str, prefix: str, draw: random.Random, *, accounts: int, fills_per_s: int) -> None:
        self._bootstrap = bootstrap
        self.prefix = prefix
        self._draw = draw
        self._fills_per_s = fills_per_s
        self.path = Path(draw)
        self.clients = [
            Client(
                f"a-{n}",
                draw.random() < 0.3,
                draw.uniform(9, 15) if n % 2 else draw.uniform(2, 5),
                draw.choice((0.2, 0.8)),
            )
            for n in range(accounts)
        ]
        self._by_name = {client.name: client for client in self.clients}
        self.cash: dict[tuple[str, str], int] = {}
        self.positions: dict[Key, int] = {}
        self.fill_ids: set[str] = set()
        self.gates = [OrderGate(partition, PARTITIONS) for partition in range(PARTITIONS)]
        self.verdicts: dict[str, int] = {}
        self.executed: list[str] = []  # order ids, as they executed
        self.silent_until = 0.0  # loop time: the matching engine executes nothing before
        self.calm = False
        self.error: BaseException | None = None
        self._number = 0
        self._queue: asyncio.Queue[tuple[str, int, bytes, bytes]] = asyncio.Queue()
        self._waiting = 0  # records that were queued and not acknowledged
        self._tasks: list[asyncio.Task[None]] = []
        self._later: set[asyncio.TimerHandle] = set()

    async def __aenter__(self) -> Self:
        one = {f"{self.prefix}{t.name}": t.partitions or PARTITIONS for t in TOPICS}
        # The broker's clock stamps everything: what lay in a topic before a claim can be told apart from what was only meant to.
        await create_topics(self._bootstrap, one, config={"message.timestamp.type": "LogAppendTime"})
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, request_timeout_ms=SEND_TIMEOUT_MS
        )
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await self._consumer.start()
        self._open()
        self._begin(self._send, self._tell_prices, self._trade, self._read_orders)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for handle in self._later:
            handle.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A run that failed may have left the broker dead: then clients wait for it, or end as if they had been cancelled.
        closing = asyncio.gather(self._consumer.stop(), self._producer.stop(), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closing, CLOSE_S)

    def _begin(self, *works: Callable[[], Any]) -> None:
        for work in works:
            task = asyncio.ensure_future(work())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = self.error or error

    # -- what clients do -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        for name in INSTRUMENTS:
            self._put("instruments", name, {
                "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": name[:3], "settlement_asset": "USDT",
                "margin_tiers": [{"notional_floor": "0", "initial_margin_rate": "0.06", "maintenance_margin_rate": MAINTENANCE}],
                "tick_size": "0.1", "lot_size": "0.001", "taker_fee_rate": TAKER, "max_price_age_ms": 10_000,
                "max_price_move": "0.2", "insurance_pool": "pool",
            })  # fmt: skip
        for client in self.clients:
            mode = "isolated" if client.isolated else "cross"
            self._put("accounts", client.name, {
                "account": client.name, "margin_mode": mode, "valuation_asset": "USDT", "client": f"c-{client.name}",
            })  # fmt: skip
            for bucket in {client.bucket(name): None for name in INSTRUMENTS}:
                self._deposit(client, bucket, DEPOSIT)

    async def _tell_prices(self) -> None:
        while True:
            if not self.calm:
                self.path.step()
            for name in INSTRUMENTS:
                self._put("prices", name, {"instrument": name, "mark_price": self.path.text(name), "source": "venue"})
            await asyncio.sleep(TICK_S)

    async def _trade(self) -> None:
        """So many fills a second, whatever the scheduler does to us."""
        loop = asyncio.get_running_loop()
        started, done = loop.time(), 0
        while not self.calm:
            due = int((loop.time() - started) * self._fills_per_s)
            for _ in range(min(due - done, self._fills_per_s)):
                self._trade_once()
            done = due
            await asyncio.sleep(TRADE_S)

    def _trade_once(self) -> None:
        """A client opens up to its leverage, or closes; one whose bucket was emptied pays in again."""
        draw = self._draw
        client, name = draw.choice(self.clients), draw.choice(INSTRUMENTS)
        bucket = client.bucket(name)
        equity, gross = self.standing(client.name, bucket)
        if equity < DEPOSIT * ONE // 3:
            if not gross:
                self._deposit(client, bucket, DEPOSIT - equity // ONE)
            return
        held = self.positions.get((client.name, bucket, name), 0)
        quantity = parse(draw.choice(("0.1", "0.2", "0.5", "1", "2")))
        side = 1 if draw.random() < client.buys else -1
        if abs(held + side * quantity) > abs(held):
            grown = gross + quantity * self.path.mark(name) // ONE
            if grown > equity * client.leverage:
                side = -side
        self._book(client, name, side * quantity, self.path.text(name), {"exec_type": "trade"})

    def standing(self, account: str, bucket: str) -> tuple[int, int]:
        """Equity and the sum of the positions' notional, e18."""
        equity, gross = self.cash.get((account, bucket), 0), 0
        for name in INSTRUMENTS:
            worth = self.positions.get((account, bucket, name), 0) * self.path.mark(name) // ONE
            equity += worth
            gross += abs(worth)
        return equity, gross

    def stuck(self) -> list[tuple[str, str]]:
        """Buckets that hold something and are under their requirement at the marks."""
        found = []
        for account, bucket in sorted(self.cash):
            equity, gross = self.standing(account, bucket)
            if gross and equity < gross * parse(MAINTENANCE) // ONE:
                found.append((account, bucket))
        return found

    def _book(self, client: Client, instrument: str, signed: int, price: str, more: dict[str, Any]) -> None:
        bucket = client.bucket(instrument)
        fee = -(-abs(signed) * parse(price) * parse(TAKER) // ONE**2)
        key = (client.name, bucket, instrument)
        self.positions[key] = self.positions.get(key, 0) + signed
        self.cash[client.name, bucket] = self.cash.get((client.name, bucket), 0) - signed * parse(price) // ONE - fee
        self._number += 1
        fill = {
            "fill_id": f"f-{self._number}", "account": client.name, "bucket": bucket, "instrument": instrument,
            "side": "buy" if signed > 0 else "sell", "quantity": to_text(abs(signed)), "price": price, "fee": to_text(fee),
            "ts_ms": now_ms(), **more,
        }  # fmt: skip
        self.fill_ids.add(fill["fill_id"])
        self._put("fills", client.name, fill)
        if self._draw.random() < 0.02:
            self._call_later(self._draw.uniform(0, 1), self._put, "fills", client.name, fill)  # told twice

    def _deposit(self, client: Client, bucket: str, amount: int) -> None:
        self.cash[client.name, bucket] = self.cash.get((client.name, bucket), 0) + amount * ONE
        self._number += 1
        self._put("transfers", client.name, {
            "transfer_id": f"t-{self._number}", "account": client.name, "bucket": bucket, "asset": "USDT", "amount": str(amount),
            "reason": "deposit",
        })  # fmt: skip

    # -- the matching engine -------------------------------------------------------------------------------------------

    async def _read_orders(self) -> None:
        places = [TopicPartition(f"{self.prefix}{ORDERS}", partition) for partition in range(PARTITIONS)]
        self._consumer.assign(places)
        for place in places:
            self._consumer.seek(place, 0)
        while True:
            try:
                polled = await self._consumer.getmany(timeout_ms=100)
            except KafkaError:  # the broker is away; the position stays
                await asyncio.sleep(TICK_S)
                continue
            for place, records in polled.items():
                for record in records:
                    self._judge(place.partition, record.offset, record.value)

    def _judge(self, partition: int, offset: int, value: bytes) -> None:
        verdict = self.gates[partition].read(offset, value, now_ms(), self._held)
        name = verdict.action if verdict.reason is None else f"{verdict.action}:{verdict.reason}"
        self.verdicts[name] = self.verdicts.get(name, 0) + 1
        if verdict.event is not None:
            self._publish(verdict.event)
        if verdict.action is Action.EXECUTE:
            self._wait_to_execute(partition, verdict)

    def _wait_to_execute(self, partition: int, verdict: Verdict) -> None:
        assert verdict.order is not None
        silence = max(0.0, self.silent_until - asyncio.get_running_loop().time())
        self._call_later(silence + self._draw.expovariate(1 / 0.05), self._execute, partition, verdict.order.order_id)

    def _execute(self, partition: int, order_id: str) -> None:
        """Wholly, in part or not at all; then the order is over."""
        gate = self.gates[partition]
        held = gate.state.held[order_id]
        order = held.order
        quantity = min(held.quantity, gate.room(order, self._held(order)))
        luck = 0.0 if self.calm else self._draw.random()
        if luck > 0.9 or quantity <= 0:
            quantity = 0
        elif luck > 0.7:
            quantity = max(LOT, quantity // 2 - quantity // 2 % LOT)
        if quantity:
            self.executed.append(order_id)
            signed = quantity if order.side == "buy" else -quantity
            kind = EXEC_TYPES.get(order.stage, "liquidation")
            more = {"order_id": order_id, "exec_type": kind}
            self._book(self._by_name[order.account], order.instrument, signed, order.limit_price, more)
        whole = quantity == parse(order.quantity)
        event = answer_to(order, "filled" if whole else "expired", to_text(quantity), now_ms())
        gate.told(event)
        self._publish(event)

    def _held(self, order: Order) -> int:
        return self.positions.get((order.account, order.bucket, order.instrument), 0)

    def _publish(self, event: OrderEvent) -> None:
        self._append("order-events", event.account, encode(event))

    async def ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """Where the topics end now, by topic and partition."""
        places = [TopicPartition(f"{self.prefix}{topic}", p) for topic in topics for p in range(PARTITIONS)]
        found = await self._consumer.end_offsets(places)
        return {(place.topic.removeprefix(self.prefix), place.partition): end for place, end in found.items()}

    # -- writing -------------------------------------------------------------------------------------------------------

    async def is_settled(self) -> bool:
        """Whether everything that was told is acknowledged, and no order waits to be executed."""
        return not self._waiting and not any(gate.state.held for gate in self.gates)

    def _put(self, topic: str, key: str, value: dict[str, Any]) -> None:
        self._append(topic, key, json.dumps({"ts_ms": now_ms(), **value}).encode())

    def _append(self, topic: str, key: str, value: bytes) -> None:
        partition = partition_of(key, PARTITIONS) if topic in ACCOUNT_TOPICS else 0
        self._waiting += 1
        self._queue.put_nowait((f"{self.prefix}{topic}", partition, key.encode(), value))

    async def _send(self) -> None:
        while True:
            topic, partition, key, value = await self._queue.get()
            sent = await self._producer.send(topic, value, key=key, partition=partition)
            sent.add_done_callback(self._acknowledged)

    def _acknowledged(self, sent: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self.error = self.error or error  # the harness failed, not the product

    def _call_later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        def due() -> None:
            self._later.discard(handle)
            call(*args)

        handle = asyncio.get_running_loop().call_later(delay, due)
        self._later.add(handle)
