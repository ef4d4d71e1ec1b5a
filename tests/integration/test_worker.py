"""The worker on the real Kafka and Redis: what it orders and stores is what the engine says, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.adapters.presets import load_presets
from services.contracts.journal import rows_digest
from services.contracts.topics import SHADOW_ORDERS, TOPICS
from services.engine.effects import Emit
from services.replay.journalled import Recomputed
from tests.integration.venue import (
    CRASH_PRICE,
    ORDERS,
    START_PRICE,
    Tables,
    Venue,
    expected_ledger,
    has_stored_everything,
    summary,
    until,
)
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

Make = Callable[..., WorkerProcess]


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
    """Makes workers of one group; whatever still runs at the end is killed."""
    made: list[WorkerProcess] = []

    def new(name: str, **worker: object) -> WorkerProcess:
        made.append(WorkerProcess(tmp_path, name, venue.bootstrap, redis_server.url, venue.prefix, **worker))
        return made[-1]

    yield new
    for worker in made:
        if worker.process is not None:
            await worker.kill()


async def check_outcome(venue: Venue, client: Redis) -> None:
    """Orders and tables are those of an engine in this process that was fed the same records."""
    tables = Tables(client, venue.prefix, venue.partitions)
    expected = await venue.expected_orders()
    assert expected, "the scenario orders something"

    async def has_ordered() -> bool:
        return {summary(order) for order in await venue.valid_orders()} >= expected

    await until("every order is out", has_ordered)
    await until("everything is stored", lambda: has_stored_everything(venue, tables))
    orders = await venue.valid_orders()
    assert {summary(order) for order in orders} == expected
    assert len({(order.account, order.bucket, order.instrument) for order in orders}) == len(orders)
    assert await tables.ledger() == await expected_ledger(venue)
    await check_journal(venue, tables)


async def check_journal(venue: Venue, tables: Tables) -> None:
    """From the journal everything follows again: each record that was written, byte for byte, and the rows of the table."""
    held = await tables.rows()
    digests = {shard: rows_digest(rows.items()) for shard, rows in held.items()}

    async def is_all_decided() -> bool:
        records = await venue.read_all([topic.name for topic in TOPICS])
        recomputed = Recomputed(records, load_presets(), wanted=digests.items())
        assert [effect for _, effect in recomputed.run() if isinstance(effect, Emit)]
        assert {shard: recomputed.versions.find(shard, digest) for shard, digest in digests.items()} == held
        return recomputed.not_decided() == []  # an order may stand in its topic a moment before the journal says why

    await until("the journal explains what was written", is_all_decided)


async def test_thousands_of_records_end_to_end(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    await venue.open_accounts(0, 300)
    await venue.flush()
    worker = await make("w-1").start()
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)
    assert await worker.metric("ringfence_records_total") >= 300 * 10
    assert await worker.metric("ringfence_gate_open") == 4
    assert await worker.metric("ringfence_buckets") == 300
    assert await worker.terminate() == 0


async def test_killed_in_the_middle_and_restarted(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    for round_ in range(3):
        worker = await make(f"w-{round_}").start()
        seen = await worker.metric("ringfence_records_total")
        await venue.price(CRASH_PRICE)
        await venue.open_accounts(round_ * 80, 80)
        await until("it is in the middle", partial(has_read_more, worker, seen + 200))
        await worker.kill()  # somewhere between folding, ordering and storing
    await make("w-last").start()
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)


async def has_read_more(worker: WorkerProcess, records: float) -> bool:
    return await worker.metric("ringfence_records_total") > records


async def test_a_second_worker_joins_and_one_is_killed(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    first = await make("w-1").start()
    await venue.open_accounts(0, 60)
    second = await make("w-2").start(ready=False)
    await venue.open_accounts(60, 60)
    await until("the second is ready", second.is_ready)
    await until("they share", lambda: shares(first, 2))
    await until("they share", lambda: shares(second, 2))
    await venue.price(CRASH_PRICE)
    await first.kill()
    await venue.open_accounts(120, 60)
    await until("the second has all", lambda: shares(second, 4))
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)


async def shares(worker: WorkerProcess, partitions: int) -> bool:
    return await worker.metric("ringfence_gate_open") == partitions


async def test_sigterm_ends_it_cleanly_and_the_next_one_goes_on_at_once(
    venue: Venue, make: Make, redis_client: Redis
) -> None:
    await venue.price(START_PRICE)
    worker = await make("w-1").start()
    await venue.open_accounts(0, 60)
    await venue.price(CRASH_PRICE)
    await venue.flush()
    started = asyncio.get_running_loop().time()
    assert await worker.terminate() == 0
    assert asyncio.get_running_loop().time() - started < 5
    assert '"event": "stopped"' in worker.log()
    await make("w-2").start()
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)


async def test_a_frozen_worker_that_was_replaced_does_no_harm(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    frozen = await make("w-1").start()
    await venue.open_accounts(0, 60)
    frozen.freeze()
    second = await make("w-2").start(ready=False)
    await until("the second has all", second.is_ready)
    await until("the second has all", lambda: shares(second, 4))
    await venue.price(CRASH_PRICE)
    frozen.thaw()
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)


async def test_shadow_writes_beside_the_live_system_only(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    await venue.open_accounts(0, 30)
    await venue.flush()
    await make("w-1").start("--shadow")
    await venue.price(CRASH_PRICE)
    expected = await venue.expected_orders()

    async def has_ordered() -> bool:
        return {summary(order) for order in await venue.valid_orders(SHADOW_ORDERS)} == expected

    await until("every shadow order is out", has_ordered)
    assert await venue.read_all([ORDERS, "account-states", "dead-letters"]) == []
    assert {key.decode().startswith(f"{venue.prefix}shadow:") for key in await redis_client.keys()} == {True}


async def test_bad_records_go_whole_to_the_dead_letters(venue: Venue, make: Make, redis_client: Redis) -> None:
    await venue.price(START_PRICE)
    await make("w-1").start()
    bad = [b"", b"{", b"\x00\xff" * 50, b'{"fill_id":"x"}', b"[1]" * 2_000]
    for value in bad:
        await venue.put("fills", "a-1", value)
    await venue.flush()
    await venue.open_accounts(0, 30)
    await venue.price(CRASH_PRICE)
    await check_outcome(venue, redis_client)
    letters = await venue.read_all(["dead-letters"])
    assert sorted(letter.value for letter in letters) == sorted(bad)
    assert {letter.key for letter in letters} == {b"a-1"}


async def test_the_probes_speak_and_nothing_else_does(venue: Venue, make: Make) -> None:
    await venue.price(START_PRICE)
    worker = await make("w-1").start()
    assert [(await worker.get(path))[0] for path in ("/livez", "/healthz", "/readyz", "/metrics", "/table", "/")] == [
        200, 200, 200, 200, 404, 404,
    ]  # fmt: skip
    assert (await worker.get("/metrics", method="POST"))[0] == 405
    assert (await worker.get("/readyz", method="DELETE"))[0] == 405
