"""The append-only file cut at random places: what comes up again is a whole flush, or nothing comes up."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from redis.asyncio import Redis

from services.adapters.ports import Flushed, Snapshot, Stored
from services.adapters.redis_table import RedisTable, TableSettings
from tests.support.process import StartFailed
from tests.support.redis import RedisServer

SHARDS = 2
FLUSHES = 30
CUTS = 40
ROWS = 40


def snapshot(number: int) -> Snapshot:
    """Flush `number` changes every row, and every third takes one away that the next brings back."""
    rows: dict[str, bytes | None] = {f"a-{row}|main": f"row {row} of {number} ".encode() * 9 for row in range(ROWS)}
    if number % 3 == 0:
        rows["a-0|main"] = None
    return Snapshot(rows, {"fills": number, "accounts": 2 * number}, claim=number)


def is_whole(stored: Stored) -> bool:
    """Whether it is what one of the flushes left, in every row, or what there was before the first."""
    if stored.offsets is None:
        return not list(stored.rows)
    number = stored.offsets["fills"]
    expected = {field: row for field, row in snapshot(number).rows.items() if row is not None}
    return (dict(stored.rows), stored.offsets, stored.claim) == (expected, snapshot(number).offsets, number)


async def fill(server: RedisServer) -> None:
    async with Redis.from_url(server.url) as client:
        table = RedisTable(client, TableSettings("rf:", "s1"))
        await table.prepare()
        for number in range(1, FLUSHES + 1):
            for shard in range(SHARDS):
                before = snapshot(number - 1).offsets if number > 1 else None
                assert await table.flush(shard, number, before, snapshot(number)) == Flushed()


async def loaded(server: RedisServer) -> list[Stored]:
    async with Redis.from_url(server.url) as client:
        table = RedisTable(client, TableSettings("rf:", "s1"))
        return [await table.load(shard) for shard in range(SHARDS)]


def log_file(server: RedisServer) -> Path:
    """The file that commands are appended to."""
    return max((server.directory / "appendonlydir").glob("*.incr.aof"))


async def test_a_cut_append_only_file_is_loaded_as_a_whole_flush_or_refused(redis_server: RedisServer) -> None:
    await fill(redis_server)
    assert [stored.offsets for stored in await loaded(redis_server)] == [snapshot(FLUSHES).offsets] * SHARDS
    redis_server.kill()
    whole, draw = log_file(redis_server).read_bytes(), random.Random(5)
    found: set[int] = set()
    for _ in range(CUTS):
        cut = draw.randrange(len(whole))
        log_file(redis_server).write_bytes(whole[:cut])
        try:
            await asyncio.to_thread(redis_server.start)
        except StartFailed:
            continue  # refused: a person decides
        for stored in await loaded(redis_server):
            assert is_whole(stored), f"cut at {cut} of {len(whole)}: {stored.offsets}"
            found.add((stored.offsets or {}).get("fills", 0))
        redis_server.kill()
    assert len(found) > CUTS // 2, f"the cuts must lead to different flushes, not only to {found}"
