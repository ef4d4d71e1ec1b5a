"""Shards on the real Redis: one step or nothing, fenced by epoch and by what was stored before, damage seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.adapters.ports import Fenced, Flushed, Refused, RolledBack, Snapshot, Unreachable
from services.adapters.redis_table import RedisTable, TableSettings
from tests.support.redis import RedisServer


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url, socket_timeout=2) as connected:
        yield connected


@pytest.fixture
async def table(client: Redis) -> RedisTable:
    found = RedisTable(client, TableSettings("rf:", "s1"))
    await found.prepare()
    return found


def snapshot(at: int, **rows: bytes | None) -> Snapshot:
    return Snapshot(rows, {"fills": at, "accounts": at + 1}, claim=5)


async def test_a_shard_that_was_never_stored_is_empty(table: RedisTable) -> None:
    stored = await table.load(3)
    assert (stored.offsets, stored.claim, stored.rows) == (None, -1, ())


async def test_rows_offsets_claim_and_epoch_come_back(table: RedisTable, client: Redis) -> None:
    rows = {f"a-{number}|main": bytes([number % 256]) * 40 for number in range(5_000)}
    assert await table.flush(3, 9, None, Snapshot(rows, {"fills": 4}, claim=9)) == Flushed()
    stored = await table.load(3)
    assert dict(stored.rows) == rows
    assert (stored.offsets, stored.claim, stored.epoch, stored.settings) == ({"fills": 4}, 9, 9, "s1")
    assert sorted(await client.keys()) == [b"rf:{p3}:buckets", b"rf:{p3}:meta"]


async def test_rows_change_and_go(table: RedisTable) -> None:
    await table.flush(0, 1, None, snapshot(1, a=b"1", b=b"1"))
    await table.flush(0, 1, snapshot(1).offsets, snapshot(2, a=None, b=b"2"))
    assert dict((await table.load(0)).rows) == {"b": b"2"}


async def test_an_older_epoch_is_fenced_and_writes_nothing(table: RedisTable) -> None:
    await table.flush(0, 7, None, snapshot(1, a=b"1"))
    assert await table.flush(0, 6, snapshot(1).offsets, snapshot(2, a=b"2")) == Fenced(7)
    assert dict((await table.load(0)).rows) == {"a": b"1"}


async def test_what_builds_on_other_offsets_is_rolled_back_and_writes_nothing(table: RedisTable) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1"))
    assert await table.flush(0, 8, snapshot(3).offsets, snapshot(6, a=b"2")) == RolledBack(snapshot(4).offsets)
    assert await table.flush(0, 8, None, snapshot(6, a=b"2")) == RolledBack(snapshot(4).offsets)
    assert dict((await table.load(0)).rows) == {"a": b"1"}


async def test_the_same_flush_again_is_the_success_whose_answer_was_lost(table: RedisTable) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1"))
    assert await table.flush(0, 7, None, snapshot(4, a=b"1")) == Flushed()


async def test_as_much_stored_by_another_is_no_success(table: RedisTable, client: Redis) -> None:
    await table.flush(0, 6, None, snapshot(4, a=b"1"))
    assert await table.flush(0, 7, None, snapshot(4, a=b"2")) == RolledBack(snapshot(4).offsets)
    await table.flush(1, 7, None, snapshot(4, a=b"1"))
    await client.hset("rf:{p1}:meta", "offset:fills", "5")  # one bit of 4
    await client.hset("rf:{p1}:meta", "offset:accounts", "6")
    assert await table.flush(1, 7, snapshot(4).offsets, snapshot(5, a=b"2")) == RolledBack(snapshot(5).offsets)


async def test_shards_do_not_mix(table: RedisTable) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1"))
    assert (await table.load(1)).offsets is None


async def test_every_flipped_byte_of_a_row_is_seen(table: RedisTable, client: Redis) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"balance"))
    good = await client.hget("rf:{p0}:buckets", "a")
    assert isinstance(good, bytes)
    for place in range(len(good)):
        await client.hset("rf:{p0}:buckets", "a", good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(Refused, match="checksum"):
            await table.load(0)


@pytest.mark.parametrize("name", ["epoch", "claim", "offset:fills", "settings"])
async def test_changed_meta_data_is_seen(table: RedisTable, client: Redis, name: str) -> None:
    await table.flush(0, 7, None, snapshot(4))
    await client.hset("rf:{p0}:meta", name, "3")
    with pytest.raises(Refused, match="checksum"):
        await table.load(0)


async def test_a_row_of_another_field_or_shard_is_seen(table: RedisTable, client: Redis) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1", b=b"2"))
    row = await client.hget("rf:{p0}:buckets", "a")
    assert isinstance(row, bytes)
    await client.hset("rf:{p0}:buckets", "b", row)
    with pytest.raises(Refused):
        await table.load(0)
    await table.flush(1, 7, None, snapshot(4))
    await client.hset("rf:{p1}:buckets", "a", row)
    with pytest.raises(Refused):
        await table.load(1)


async def test_a_row_key_that_is_not_ours_opens_nothing(table: RedisTable, client: Redis) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1"))
    with pytest.raises(Refused):
        await RedisTable(client, TableSettings("rf:", "s1", key=b"another secret")).load(0)


async def test_meta_data_without_rows_or_rows_without_meta_data_is_seen(table: RedisTable, client: Redis) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1"))
    await client.delete("rf:{p0}:meta")
    with pytest.raises(Refused):
        await table.load(0)


async def test_a_server_that_lost_the_function_gets_it_again(table: RedisTable, client: Redis) -> None:
    await client.execute_command("FUNCTION", "FLUSH")
    assert await table.flush(0, 7, None, snapshot(4, a=b"1")) == Flushed()


async def test_a_server_that_may_evict_is_refused(client: Redis) -> None:
    await client.config_set("maxmemory", "100mb")
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(Refused, match="noeviction"):
        await RedisTable(client, TableSettings("rf:", "")).prepare()


async def test_a_server_that_is_away_is_unreachable_and_what_it_had_is_there_again(
    table: RedisTable, redis_server: RedisServer
) -> None:
    await table.flush(0, 7, None, snapshot(4, a=b"1"))
    redis_server.kill()
    with pytest.raises(Unreachable):
        await table.load(0)
    with pytest.raises(Unreachable):
        await table.flush(0, 7, snapshot(4).offsets, snapshot(5, a=b"2"))
    await asyncio.to_thread(redis_server.restart)
    assert await table.flush(0, 7, snapshot(4).offsets, snapshot(5, a=b"2")) == Flushed()
    assert dict((await table.load(0)).rows) == {"a": b"2"}


async def test_a_login_with_few_rights_is_enough_once_the_function_is_there(
    table: RedisTable, redis_server: RedisServer, client: Redis
) -> None:
    rights = [
        "on",
        ">pw",
        "resetkeys",
        "~rf:*",
        "-@all",
        "+ping",
        "+info",
        "+fcall",
        "+hget",
        "+hset",
        "+hdel",
        "+hgetall",
    ]
    await client.execute_command("ACL", "SETUSER", "monitor", *rights, "+multi", "+exec", "+client|setinfo")
    async with Redis.from_url(redis_server.url, username="monitor", password="pw") as limited:
        own = RedisTable(limited, TableSettings("rf:", "s1"))
        await own.prepare()
        assert await own.flush(0, 7, None, snapshot(4, a=b"1")) == Flushed()
        assert dict((await own.load(0)).rows) == {"a": b"1"}
    await client.execute_command("FUNCTION", "FLUSH")
    async with Redis.from_url(redis_server.url, username="monitor", password="pw") as limited:
        with pytest.raises(Refused, match="function library"):
            await RedisTable(limited, TableSettings("rf:", "s1")).prepare()
