"""A small venue on the real broker, and what its records must lead to: the same engine, fed in this process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from services.adapters.presets import load_presets
from services.adapters.redis_table import RedisTable, TableSettings
from services.contracts.codec import decode
from services.contracts.identifiers import partition_of
from services.contracts.messages import Claim, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS, BY_NAME, SHADOW_ORDERS, TOPICS
from services.engine.effects import Emit
from services.engine.engine import Engine
from services.engine.rows import AccountRow, BucketRow, decode_row
from services.engine.settings import Settings
from tests.support.kafka import create_topics

PARTITIONS = 4
ORDERS = "liquidation-orders"
INSTRUMENT = "BTC-PERP"
START_PRICE, CRASH_PRICE = 50_000, 49_400
WAIT_S = 40.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def until(what: str, condition: Callable[[], Awaitable[bool]], timeout_s: float = WAIT_S) -> None:
    """Poll another process until it is so."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.02)


@dataclass
class Venue:
    """Writes what clients do, and reads what the worker answers."""

    bootstrap: str
    prefix: str
    partitions: int = PARTITIONS
    producer: AIOKafkaProducer = field(init=False)

    async def __aenter__(self) -> Self:
        broadcast = {f"{self.prefix}{t.name}": 1 for t in TOPICS if t.name in BROADCAST_TOPICS}
        rest = {
            f"{self.prefix}{t.name}": t.partitions or self.partitions for t in TOPICS if t.name not in BROADCAST_TOPICS
        }
        await create_topics(self.bootstrap, broadcast, config={"message.timestamp.type": "LogAppendTime"})
        await create_topics(self.bootstrap, rest | {f"{self.prefix}{SHADOW_ORDERS}": self.partitions})
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True)
        await self.producer.start()
        await self.put("instruments", INSTRUMENT, an_instrument())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()

    async def put(
        self, topic: str, key: str, value: dict[str, Any] | bytes, partition: int | None = None
    ) -> asyncio.Future[Any]:
        """Hand a record over, in the account's partition for an account topic; the future is its acknowledgement."""
        if partition is None:
            partition = partition_of(key, self.partitions) if topic in ACCOUNT_TOPICS else 0
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        sent: asyncio.Future[Any] = await self.producer.send(
            f"{self.prefix}{topic}", raw, key=key.encode(), partition=partition
        )
        return sent

    async def price(self, price: float) -> None:
        await (
            await self.put(
                "prices",
                INSTRUMENT,
                {"instrument": INSTRUMENT, "mark_price": str(price), "source": "venue", "ts_ms": now_ms()},
            )
        )

    async def open_accounts(self, first: int, count: int, fills: int = 8) -> None:
        """Accounts that hold 1 contract each; every third with so little money that the crash puts it under."""
        for number in range(first, first + count):
            name = f"a-{number}"
            deposit = "800" if number % 3 == 0 else "5000"
            await self.put(
                "accounts",
                name,
                {"account": name, "margin_mode": "cross", "valuation_asset": "USDT", "client": f"c-{number}"},
            )
            await self.put(
                "transfers",
                name,
                {
                    "transfer_id": f"t-{number}",
                    "account": name,
                    "asset": "USDT",
                    "amount": deposit,
                    "reason": "deposit",
                    "ts_ms": now_ms(),
                },
            )
            for index in range(fills):
                await self.put("fills", name, {
                    "fill_id": f"f-{number}-{index}", "account": name, "instrument": INSTRUMENT, "side": "buy",
                    "quantity": str(1 / fills), "price": str(START_PRICE), "ts_ms": now_ms(),
                })  # fmt: skip

    async def flush(self) -> None:
        await self.producer.flush()

    async def read_all(self, topics: Sequence[str]) -> list[Record]:
        """Everything the topics hold now, under their logical names."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            tps = [
                TopicPartition(f"{self.prefix}{topic}", p)
                for topic in topics
                for p in range((None if topic == SHADOW_ORDERS else BY_NAME[topic].partitions) or self.partitions)
            ]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found: dict[TopicPartition, list[Record]] = {tp: [] for tp in tps}
            for tp in tps:
                consumer.seek(tp, 0)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, raw in (await consumer.getmany(timeout_ms=100)).items():
                    found[tp] += [as_record(each, tp.topic.removeprefix(self.prefix)) for each in raw]
            return [record for tp in tps for record in found[tp]]
        finally:
            await consumer.stop()

    async def valid_orders(self, topic: str = ORDERS) -> list[Order]:
        """An order counts if its epoch is the newest claim before it in its partition; the first record of an id executes."""
        epochs: dict[int, int] = {}
        seen: dict[str, Order] = {}
        for record in await self.read_all([topic]):
            message = decode(ORDERS, record.value)
            if isinstance(message, Claim):
                epochs[record.partition] = record.offset
            elif isinstance(message, Order) and message.epoch == epochs.get(record.partition):
                seen.setdefault(message.order_id, message)
        return list(seen.values())

    async def expected_orders(self) -> set[tuple[str, str, str, int]]:
        """What an engine in this process orders on the same records, each order read back at once, before any is answered."""
        engine = Engine(Settings(account_partitions=self.partitions), load_presets())
        records = [r for r in await self.read_all([*BROADCAST_TOPICS, *ACCOUNT_TOPICS]) if r.topic != ORDERS]
        records.sort(key=lambda r: (r.topic == "prices", r.topic in ACCOUNT_TOPICS, r.timestamp_ms, r.offset))
        accounts = [r for r in records if r.topic in ACCOUNT_TOPICS]
        prices = [r for r in records if r.topic == "prices"]
        references = [r for r in records if r.topic in BROADCAST_TOPICS and r.topic != "prices"]
        effects = engine.apply_batch([*references, *accounts, *prices])
        effects += engine.timer(max(r.timestamp_ms for r in records) + 1_000)
        return {summary(e.message) for e in effects if isinstance(e, Emit) and isinstance(e.message, Order)}


def summary(order: Order) -> tuple[str, str, str, int]:
    return order.order_id, order.account, order.quantity, order.attempt


def as_record(raw: Any, topic: str) -> Record:
    return Record(
        topic=topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        value=raw.value,
    )


def an_instrument() -> dict[str, Any]:
    return {
        "instrument": INSTRUMENT, "kind": "perpetual", "contract": "linear", "underlying": "BTC", "settlement_asset": "USDT",
        "tick_size": "0.1", "lot_size": "0.001", "max_price_age_ms": 600_000, "ts_ms": now_ms(),
        "margin_tiers": [{"notional_floor": "0", "initial_margin_rate": "0.01", "maintenance_margin_rate": "0.005"}],
    }  # fmt: skip


class Tables:
    """The Redis tables as a reader sees them, and the same fold done in this process."""

    def __init__(self, client: Redis, prefix: str, partitions: int = PARTITIONS) -> None:
        self._table = RedisTable(client, TableSettings(prefix, ""))
        self._partitions = partitions

    async def offsets(self) -> dict[tuple[str, int], int]:
        stored = [await self._table.load(p) for p in range(self._partitions)]
        return {(topic, p): at for p, shard in enumerate(stored) for topic, at in (shard.offsets or {}).items()}

    async def rows(self) -> dict[int, dict[str, bytes]]:
        """By shard, the stored rows, field to bytes."""
        return {p: dict((await self._table.load(p)).rows) for p in range(self._partitions)}

    async def ledger(self) -> dict[str, Any]:
        return ledger_of([row for rows in (await self.rows()).values() for row in rows.items()])


async def has_stored_everything(venue: Venue, tables: Tables) -> bool:
    ends: dict[tuple[str, int], int] = {}
    for record in await venue.read_all(ACCOUNT_TOPICS):
        place = (record.topic, record.partition)
        ends[place] = max(ends.get(place, 0), record.offset + 1)
    stored = await tables.offsets()
    return bool(stored) and all(stored.get(place, 0) >= end for place, end in ends.items())


async def expected_ledger(venue: Venue) -> dict[str, Any]:
    """Balances, positions and issued orders after the same records, folded topic by topic."""
    engine = Engine(Settings(account_partitions=venue.partitions), {}, gates_open=False)
    engine.apply_batch(await venue.read_all([*BROADCAST_TOPICS, *ACCOUNT_TOPICS]))
    rows = [row for p in range(venue.partitions) for row in engine.take_dirty(p).items()]
    return ledger_of([(field, row) for field, row in rows if row is not None])


def ledger_of(rows: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """What the fold alone decides: no status, which depends on when a price was read between the others."""
    found: dict[str, Any] = {}
    for name, raw in rows:
        row = decode_row(raw)
        if isinstance(row, BucketRow):
            found[name] = (row.balances, row.locked, row.positions, row.attempts, sorted(row.orders))
        elif isinstance(row, AccountRow):
            found[name] = (row.known, row.client, row.margin_mode, sorted(row.recent), len(row.parked))
    return found
