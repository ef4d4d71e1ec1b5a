"""A hot standby on the real Kafka and Redis: the owner is killed, and orders go on long before the group would notice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.contracts.codec import decode
from services.contracts.messages import Claim
from tests.integration.test_worker import check_outcome, shares
from tests.integration.venue import CRASH_PRICE, ORDERS, PARTITIONS, START_PRICE, Venue, until
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

Make = Callable[..., WorkerProcess]
LATEST_S = 5.0  # about 1.5 s where nothing else runs; the group alone would take longer than its session, which is 6 s


@pytest.fixture
async def venue(kafka: KafkaServer, topic_prefix: str) -> AsyncIterator[Venue]:
    async with Venue(kafka.bootstrap, topic_prefix) as running:
        yield running


@pytest.fixture
async def redis_client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
async def make(venue: Venue, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes workers whose group gives up on a lost one after 6 s only; whatever still runs at the end is killed."""
    made: list[WorkerProcess] = []

    def new(name: str, **worker: object) -> WorkerProcess:
        settings = {"max_price_silence_ms": 120_000, **worker}  # readiness is not about prices here
        place = (tmp_path, name, venue.bootstrap, redis_server.url, venue.prefix)
        made.append(WorkerProcess(*place, session_timeout_ms=6_000, **settings))
        return made[-1]

    yield new
    for worker in made:
        if worker.process is not None:
            await worker.kill()


async def test_the_owner_is_killed_and_the_standby_orders_within_seconds(
    venue: Venue, make: Make, redis_client: Redis
) -> None:
    await venue.price(START_PRICE)
    owner = await make("owner").start()
    await venue.open_accounts(0, 60)
    standby = await make("standby").start("--standby")
    assert (await standby.get("/readyz"))[1].startswith("ok\nstands by: shards 0, 1, 2, 3")
    assert await standby.metric("ringfence_gate_open") == 0
    await until("the owner decides", partial(shares, owner, PARTITIONS), timeout_s=40)
    await venue.open_accounts(60, 60)
    await venue.flush()
    assert await claimants(venue) == {"owner"}

    await owner.kill()
    killed = time.monotonic()
    await venue.price(CRASH_PRICE)

    async def orders() -> bool:
        return {order.epoch for order in await venue.valid_orders()} != set()

    await until("the standby orders", orders)
    first = time.monotonic() - killed
    await until("the standby has all shards", partial(shares, standby, PARTITIONS))
    every = time.monotonic() - killed
    print(f"\nfrom SIGKILL of the owner to the first order {first:.2f} s, to every gate open {every:.2f} s")
    assert every < LATEST_S
    assert await claimants(venue) == {"owner", "standby"}
    assert await standby.metric('ringfence_worker_events_total\\{event="taken_over"\\}') == PARTITIONS
    await check_outcome(venue, redis_client)


async def test_an_owner_that_comes_back_is_given_the_shards_back(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    owner = await make("owner").start()
    standby = await make("standby").start("--standby")
    await venue.open_accounts(0, 60)
    await owner.kill()
    await until("the standby has all shards", partial(shares, standby, PARTITIONS))
    await venue.open_accounts(60, 60)
    again = await make("owner").start(ready=False)
    await until("the owner is back", again.is_ready, timeout_s=40)
    await until("the owner has all shards", partial(shares, again, PARTITIONS))
    await until("the standby has stepped back", partial(shares, standby, 0))
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)
    claims = [c.instance for c in await all_claims(venue)]
    assert claims.count("standby") == PARTITIONS, "it took each shard over once, and not from an owner that lives"
    await again.kill()
    await until("the standby has all shards", partial(shares, standby, PARTITIONS))
    await venue.open_accounts(120, 30)
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)


async def test_a_frozen_owner_is_replaced_and_then_has_its_shards_again(
    venue: Venue, make: Make, redis_client: Redis
) -> None:
    await venue.price(START_PRICE)
    owner = await make("owner").start()
    standby = await make("standby").start("--standby")
    await venue.open_accounts(0, 60)
    owner.freeze()
    await venue.price(CRASH_PRICE)
    await until("the standby has all shards", partial(shares, standby, PARTITIONS))
    owner.thaw()  # before its session ends: for the group it was never away
    await venue.price(CRASH_PRICE)
    await venue.open_accounts(60, 60)
    await until("the owner has all shards", partial(shares, owner, PARTITIONS), timeout_s=40)
    await until("the standby has stepped back", partial(shares, standby, 0))
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)


async def test_without_a_journal_it_does_not_start(make: Make) -> None:
    standby = make("standby", journal="false")
    await standby.start("--standby", ready=False)
    assert standby.process is not None
    assert await standby.process.wait() == 2
    assert "worker.standby needs worker.journal" in standby.log()


async def all_claims(venue: Venue) -> list[Claim]:
    messages = [decode(ORDERS, record.value) for record in await venue.read_all([ORDERS])]
    return [message for message in messages if isinstance(message, Claim)]


async def claimants(venue: Venue) -> set[str]:
    return {claim.instance for claim in await all_claims(venue)}
