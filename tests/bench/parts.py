"""What the benchmarks on real parts share: a venue of 20 instruments and 8 partitions, records in bulk, rows."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from services.contracts.identifiers import partition_of
from services.contracts.topics import BROADCAST_TOPICS, TOPICS
from tests.support.kafka import KafkaServer, create_topics
from tests.support.redis import RedisServer

PARTITIONS = 8
INSTRUMENTS = tuple(f"I{number:02}" for number in range(20))
MARK = 1_000
BATCH_BYTES = 256 * 1024
logging.getLogger("aiokafka").setLevel(
    logging.ERROR
)  # a new topic has no leader for a moment, and aiokafka says so for each try


class Message(NamedTuple):
    """A record to be written: topic without prefix, key, value."""

    topic: str
    key: str
    value: bytes


@cache
def shard_of(account: str) -> int:
    return partition_of(account, PARTITIONS)


def place_of(message: Message) -> int:
    """Its partition."""
    return 0 if message.topic in BROADCAST_TOPICS else shard_of(message.key)


async def make_topics(bootstrap: str, prefix: str) -> None:
    """All topics of the catalogue, those of the accounts with `PARTITIONS` partitions."""
    broadcast = {f"{prefix}{t.name}": 1 for t in TOPICS if t.name in BROADCAST_TOPICS}
    rest = {f"{prefix}{t.name}": t.partitions or PARTITIONS for t in TOPICS if t.name not in BROADCAST_TOPICS}
    await create_topics(bootstrap, broadcast, config={"message.timestamp.type": "LogAppendTime"})
    await create_topics(bootstrap, rest)


def instruments(maintenance: Mapping[str, str] | None = None) -> Iterator[Message]:
    """Linear perpetuals at 1 % maintenance margin, or what is given for one of them."""
    for name in INSTRUMENTS:
        rate = (maintenance or {}).get(name, "0.01")
        yield written("instruments", name, {
            "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": name, "settlement_asset": "USDT",
            "tick_size": "0.001", "lot_size": "0.001", "max_price_age_ms": 600_000, "ts_ms": now_ms(),
            "margin_tiers": [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": rate}],
        })  # fmt: skip


def marks() -> Iterator[Message]:
    """One price of each instrument."""
    for name in INSTRUMENTS:
        yield price(name, str(MARK))


def price(instrument: str, mark: str) -> Message:
    return written(
        "prices", instrument, {"instrument": instrument, "mark_price": mark, "source": "venue", "ts_ms": now_ms()}
    )


def account(name: str, deposit: str) -> Iterator[Message]:
    """A cross account and the money on it."""
    yield written(
        "accounts", name, {"account": name, "margin_mode": "cross", "valuation_asset": "USDT", "client": name}
    )
    yield written("transfers", name, {
        "transfer_id": f"t-{name}", "account": name, "asset": "USDT", "amount": deposit, "reason": "deposit", "ts_ms": now_ms(),
    })  # fmt: skip


def written(topic: str, key: str, value: dict[str, Any]) -> Message:
    return Message(topic, key, json.dumps(value, separators=(",", ":")).encode())


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def append(bootstrap: str, prefix: str, messages: Iterable[Message]) -> int:
    """Write all of them, in order within a partition, and wait for the acknowledgements; how many they were."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    await producer.start()
    open_batches: dict[tuple[str, int], Any] = {}
    count = 0
    for count, message in enumerate(messages, 1):  # noqa: B007  # the last one tells how many
        at = (message.topic, place_of(message))
        builder = open_batches.setdefault(at, None) or producer.create_batch()
        open_batches[at] = builder
        if builder.append(timestamp=None, key=message.key.encode(), value=message.value) is None:
            await producer.send_batch(builder, f"{prefix}{at[0]}", partition=at[1])
            open_batches[at] = builder = producer.create_batch()
            builder.append(timestamp=None, key=message.key.encode(), value=message.value)
    for (topic, partition), builder in open_batches.items():
        await producer.send_batch(builder, f"{prefix}{topic}", partition=partition)
    await producer.stop()
    return count


async def keep_pricing(bootstrap: str, prefix: str, every_s: float) -> None:
    """The marks again and again, as a venue that is alive writes them."""
    while True:
        await append(bootstrap, prefix, marks())
        await asyncio.sleep(every_s)


async def copy_tables(redis: Redis, source: str, target: str) -> None:
    """The shards' tables of one prefix, under another: their checksums do not cover the prefix."""
    for key in [each async for each in redis.scan_iter(f"{source}{{p*")]:
        await redis.copy(key, key.decode().replace(source, target, 1), replace=True)


def on_own_servers(measured: Callable[[str, str, Path, int], Coroutine[Any, Any, None]], buckets: int) -> None:
    """Run it with a broker, a Redis that keeps its files and a folder, all of which are gone afterwards."""
    kafka, redis = KafkaServer(), RedisServer(appendfsync="everysec")
    try:
        kafka.start()
        redis.start()
        with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
            asyncio.run(measured(kafka.bootstrap, redis.url, Path(folder), buckets))
    finally:
        kafka.close()
        redis.close()
