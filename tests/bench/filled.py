"""A table full of buckets, as a worker left it: cross accounts with 2.5 positions each, none of them near its liquidation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import msgspec
from redis.asyncio import Redis

from services.adapters.ports import Flushed, Snapshot
from services.adapters.redis_table import RedisTable, TableSettings
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.rows import CODES, VERSION, AccountRow, BucketRow
from tests.bench.parts import INSTRUMENTS, MARK, PARTITIONS, now_ms, shard_of

NOTHING_READ = dict.fromkeys(ACCOUNT_TOPICS, 0)
ROWS_AT_ONCE = 10_000
_row = msgspec.msgpack.Encoder().encode


def name_of(number: int) -> str:
    return f"b-{number}"


async def fill_table(redis: Redis, prefix: str, buckets: int) -> int:
    """Store them, as the fold of nothing; the number of rows."""
    table = RedisTable(redis, TableSettings(prefix, ""))
    await table.prepare()
    shards: list[list[int]] = [[] for _ in range(PARTITIONS)]
    for number in range(buckets):
        shards[shard_of(name_of(number))].append(number)
    for partition, numbers in enumerate(shards):
        waiting, before = rows(numbers, partition), None
        while chunk := dict(islice(waiting, ROWS_AT_ONCE)):
            result = await table.flush(partition, -1, before, Snapshot(chunk, NOTHING_READ, -1))
            assert result == Flushed(), result
            before = NOTHING_READ
    return 2 * buckets


def rows(numbers: list[int], partition: int) -> Iterator[tuple[str, bytes]]:
    """Two rows an account: leverage between 1 and 5, where 100 is the most that it may have."""
    settled_ms = now_ms() - 60_000
    for number in numbers:
        name, dice = name_of(number), random.Random(number)
        chosen = dice.sample(INSTRUMENTS, dice.choice((2, 3)))
        sides = {instrument: dice.choice((1, -1)) for instrument in chosen}
        cash = len(chosen) * MARK * dice.uniform(0.2, 1.0) - MARK * sum(sides.values())
        seen = {CODES[topic]: (partition, number) for topic in ("accounts", "fills", "transfers")}
        recent = {
            CODES["transfers"]: {f"t-{number}": dice.getrandbits(56)},
            CODES["fills"]: {f"f-{number}-{nth}": dice.getrandbits(56) for nth in range(len(chosen))},
        }
        yield f"{name}|", _row(AccountRow(
            version=VERSION, known=True, provisional=False, client=name, segregation="client", margin_mode="cross",
            margin_preset=None, valuation_asset="USDT", first_seen_ms=settled_ms, recent=recent, parked=[], sequences=[],
            sequence_gap_since_ms=None, time_ms=settled_ms, touched_ms=settled_ms, seen=seen,
        ))  # fmt: skip
        yield f"{name}|main", _row(BucketRow(
            version=VERSION, balances={"USDT": f"{cash:.2f}"}, locked={}, status="healthy", attempts={}, orders={}, doubts={}, tries={},
            positions={f"{instrument}|net": (str(side), str(MARK)) for instrument, side in sides.items()}, defaulted=False,
        ))  # fmt: skip
