"""Two and four workers on eight partitions do together what one does alone: the same orders, defaults, statuses and tables."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from services.contracts.codec import decode
from services.contracts.identifiers import partition_of
from services.contracts.messages import AccountState, Claim, Default, Message
from tests.integration.book import Book, Put
from tests.integration.test_worker import check_outcome, shares
from tests.integration.venue import ORDERS, Tables, Venue, has_stored_everything, now_ms, until
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

PARTITIONS = 8
ACCOUNTS = 96
SESSION_TIMEOUT_MS = 6_000  # no worker is lost here, and a busy machine must not look like it
START_S = 100.0  # seven processes at once on whatever machine this is
# When something was decided, on which claim and on which records; and what is for people.
INCIDENTAL = ("ts_ms", "valid_until_ms", "epoch", "evidence")
UNREADABLE = b'{"fill_id":"f-1"}'  # of an account that does not fall: its bucket is held


@dataclass(frozen=True)
class Effects:
    """What workers wrote and stored, without what depends on when they did."""

    orders: dict[str, dict[str, Any]]
    defaults: dict[str, dict[str, Any]]
    statuses: dict[str, Any]
    refused: list[bytes]
    tables: dict[str, Any]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_and_four_workers_do_together_what_one_does(
    kafka: KafkaServer, redis_server: RedisServer, topic_prefix: str, tmp_path: Path
) -> None:
    book = Book(ACCOUNTS, now_ms())

    async def effects_with(count: int) -> Effects:
        async with (
            Venue(kafka.bootstrap, f"{topic_prefix}{count}-", PARTITIONS) as venue,
            Redis.from_url(redis_server.url) as client,
        ):
            await write(venue, book.before())
            async with working(count, venue, redis_server, tmp_path) as names:
                effects = await effects_of_fall(book, venue, client)
                await check_each_has_its_part(venue, names)
                return effects

    # Side by side, each on topics of its own: most of the time is seven processes that start.
    async with asyncio.TaskGroup() as runs:
        found = [runs.create_task(effects_with(count)) for count in (1, 2, 4)]
    one, two, four = (run.result() for run in found)
    assert {order["account"] for order in one.orders.values()} == book.fallen
    assert {order["stage"] for order in one.orders.values()} == {"partial", "full", "adl"}
    assert one.defaults
    assert one.refused == [UNREADABLE]
    assert two == one
    assert four == one


@asynccontextmanager
async def working(count: int, venue: Venue, redis: RedisServer, folder: Path) -> AsyncIterator[list[str]]:
    """So many workers, each ready and with its part of the partitions; their names."""
    names = [f"w-{number}-of-{count}" for number in range(1, count + 1)]
    place = (venue.bootstrap, redis.url, venue.prefix)
    workers = [WorkerProcess(folder, name, *place, session_timeout_ms=SESSION_TIMEOUT_MS) for name in names]
    try:
        for worker in workers:
            await worker.start(ready=False)
        for worker in workers:
            await until(f"{worker.name} is ready", worker.is_ready, START_S)
            await until(f"{worker.name} has its part", partial(shares, worker, PARTITIONS // count), START_S)
        yield names
    finally:
        for worker in workers:
            if worker.process is not None:
                await worker.kill()


async def write(venue: Venue, records: Iterable[Put]) -> None:
    for topic, key, value in records:
        await venue.put(topic, key, value)
    await venue.flush()


async def effects_of_fall(book: Book, venue: Venue, client: Redis) -> Effects:
    """Everything that the workers did, once they have done what an engine in this process does."""
    tables = Tables(client, venue.prefix, venue.partitions)
    await venue.put("fills", next(name for name in book.accounts if name not in book.fallen), UNREADABLE)
    await write(venue, book.meanwhile())
    await until("all fills are stored", partial(has_stored_everything, venue, tables))
    await write(venue, book.fall())
    await check_outcome(venue, client)
    states = [decode("account-states", record.value) for record in await venue.read_all(["account-states"])]
    defaults = [decode("defaults", record.value) for record in await venue.read_all(["defaults"])]
    return Effects(
        orders={order.order_id: lasting(order) for order in await venue.valid_orders()},
        defaults={each.default_id: lasting(each) for each in defaults if isinstance(each, Default)},
        statuses={f"{s.account}|{s.bucket}": standing(s) for s in states if isinstance(s, AccountState)},
        refused=[letter.value for letter in await venue.read_all(["dead-letters"])],
        tables=await tables.ledger(),
    )


def lasting(message: Message) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(message).items() if name not in INCIDENTAL}


def standing(state: AccountState) -> tuple[str, ...]:
    """The status; of one that the fall made, with the margin. The others may have been told between one fill and the next."""
    return (state.status, state.equity, state.maintenance_margin) if state.status == "liquidating" else (state.status,)


async def check_each_has_its_part(venue: Venue, names: list[str]) -> None:
    """Every worker holds the claims of as many partitions as the others, and wrote the orders that are valid there."""
    claims: dict[int, str] = {}
    for record in await venue.read_all([ORDERS]):
        message = decode(ORDERS, record.value)
        if isinstance(message, Claim):
            claims[record.partition] = message.instance
    assert Counter(claims.values()) == dict.fromkeys(names, PARTITIONS // len(names))
    decided = {claims[partition_of(order.account, PARTITIONS)] for order in await venue.valid_orders()}
    assert decided == set(names)
