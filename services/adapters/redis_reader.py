"""Reading the tables for people: which shard holds an account, and what the server is like. Never writes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.adapters.ports import Unreachable


class ServerFacts(Struct, frozen=True, kw_only=True):
    """What a Redis server says of itself. `time_ms` is its clock."""

    version: str
    time_ms: int
    may_evict: bool
    eviction_policy: str
    keeps_log: bool


@asynccontextmanager
async def reading(client: Redis) -> AsyncIterator[None]:
    """A block that reads with `client` and closes it; what Redis answers instead of data becomes `Unreachable`."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unreachable(f"Redis does not answer: {error}") from error
    finally:
        await client.aclose()


async def shard_of(client: Redis, prefix: str, account: str) -> int | None:
    """The partition whose table holds the account, or None. Asks each shard for one field."""
    pattern = re.compile(re.escape(prefix) + r"\{p(\d+)\}:buckets")
    escaped = re.sub(r"([\\*?\[\]])", r"\\\1", prefix)
    async for key in client.scan_iter(match=f"{escaped}{{p*}}:buckets", count=1_000):
        found = pattern.fullmatch(key.decode())
        if found is not None and await client.hexists(key, f"{account}|"):
            return int(found[1])
    return None


async def server_facts(client: Redis) -> ServerFacts:
    """Version, clock, and whether the server may throw rows away."""
    server, memory, persistence = [await client.info(section) for section in ("server", "memory", "persistence")]
    seconds, micros = await client.time()
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    return ServerFacts(
        version=str(server["redis_version"]),
        time_ms=seconds * 1000 + micros // 1000,
        may_evict=bool(memory.get("maxmemory", 0)) and policy != "noeviction",
        eviction_policy=policy,
        keeps_log=bool(persistence.get("aof_enabled", 0)),
    )
