"""Each alert made to fire by breaking something that runs, and seen to clear when it was mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from redis.asyncio import Redis

from services.contracts.identifiers import partition_of
from tests.integration.venue import (
    CRASH_PRICE,
    INSTRUMENT,
    ORDERS,
    PARTITIONS,
    START_PRICE,
    Venue,
    an_instrument,
    now_ms,
    until,
)
from tests.integration.watched import Watched
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.prometheus import PrometheusServer
from tests.support.redis import RedisServer
from tests.unit.deployment.test_alerts import ALERTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]

DEEP: Final = 49_000  # every third account owes more than it has
PAUSE_S: Final = 0.8  # longer than `loop_gap_ms`
BROKEN: Final = {
    "RingfenceWatchdog": "nothing: it always fires",
    "RingfenceHalted": "an operator's halt of everything",
    "RingfenceBucketNegative": "a fall past the bankruptcy prices while everything is halted",
    "RingfenceBucketUnordered": "a fall while everything is halted",
    "RingfenceDeficit": "the halt ends too late: takeovers fix deficits",
    "RingfenceOrdersUnanswered": "the venue answers no order",
    "RingfenceOrdersThrottled": "more to close than a cap of one order a second and shard allows",
    "RingfenceMalfunction": "the venue cancels every order at once, and futile attempts are limited to three",
    "RingfenceSegregationBreached": "a withdrawal of locked collateral",
    "RingfenceLedgerDoubtful": "a statement of the venue that differs from the ledger",
    "RingfenceBucketsUnchecked": "the same: the bucket is dirty until an operator clears it",
    "RingfenceRecordsRefused": "a fill that is no JSON",
    "RingfenceMarkStale": "the feed of one instrument stops",
    "RingfenceMarkUnconfirmed": "a tick from the future, and then none",
    "RingfencePricesSilent": "all feeds stop",
    "RingfenceBroadcastLag": "a flood of ticks on a worker that gets a part of the processor",
    "RingfenceLoopStalled": "SIGSTOP and SIGCONT, repeatedly",
    "RingfenceMarksLateFast": "the same: marks wait while the process stands still",
    "RingfenceMarksLateSlow": "the same",
    "RingfenceOrdersLateFast": "a crash while the process stands still, and takes the pause for none",
    "RingfenceOrdersLateSlow": "the same",
    "RingfenceWorkerDown": "SIGKILL of one of two workers",
    "RingfenceWorkerRestarts": "the same worker started again three times",
    "RingfenceNoWorker": "SIGKILL of all workers",
    "RingfencePartitionUnowned": "a frozen worker holds the partitions, and a new one waits for them",
    "RingfenceShardRefused": "other topics than those that the tables in Redis were stored from",
    "RingfenceShardUndecided": "the same",
    "RingfenceTableDamaged": "a row in Redis that was written by somebody else",
    "RingfenceSnapshotFails": "Redis stands still while a snapshot is due",
    "RingfenceStoreDelayed": "Redis stands still; Redis refuses writes",
    "RingfenceAccountLag": "SIGKILL of the broker",
    "RingfenceOutboxGrows": "the same",
    "RingfenceSendsUnknown": "the orders topic takes no record of the size that a claim has",
}
NOT_BROKEN: Final = {
    "RingfenceMemoryNearLimit": "needs a memory limit of the control group, which a test does not set; promtool's case stands for it",
}


def test_the_table_names_every_alert() -> None:
    assert set(BROKEN) | set(NOT_BROKEN) == set(ALERTS)
    assert not set(BROKEN) & set(NOT_BROKEN)


@pytest.fixture
async def alone(
    private_kafka: KafkaServer,
    redis_server: RedisServer,
    prometheus: PrometheusServer,
    topic_prefix: str,
    tmp_path: Path,
) -> AsyncIterator[Watched]:
    """With a broker that only this test uses."""
    async with (
        Venue(private_kafka.bootstrap, topic_prefix) as venue,
        Watched(venue, redis_server, prometheus, tmp_path) as running,
    ):
        yield running


async def control(venue: Venue, action: str, scope: str = "all", target: str = "*", **more: Any) -> None:
    message = {"control_id": f"c-{now_ms()}", "scope": scope, "target": target, "action": action, "ts_ms": now_ms()}
    await (await venue.put("controls", f"{scope}:{target}", message | more))


async def cancel_orders(venue: Venue, seen: set[tuple[str, int]]) -> None:
    """The venue answers what it did not answer yet: nothing was filled."""
    for order in await venue.valid_orders():
        if (order.order_id, order.ts_ms) not in seen:
            seen.add((order.order_id, order.ts_ms))
            event = {
                "order_id": order.order_id, "account": order.account, "bucket": order.bucket, "instrument": order.instrument,
                "attempt": order.attempt, "status": "cancelled", "filled_quantity": "0", "ts_ms": now_ms(),
            }  # fmt: skip
            await venue.put("order-events", order.account, event)
    await venue.flush()


async def check_recovers(watched: Watched) -> None:
    """The price comes back and the venue answers, until nothing fires any more."""
    watched.prices[INSTRUMENT] = START_PRICE
    answered: set[tuple[str, int]] = set()

    async def is_quiet() -> bool:
        await cancel_orders(watched.venue, answered)
        return not await watched.firing()

    try:
        await until("mended", is_quiet, 60)
    except AssertionError as late:
        raise AssertionError(f"{late}: {await watched.situation()}") from None


async def test_harm_done_by_a_halt_that_lasted_too_long(watched: Watched) -> None:
    venue = watched.venue
    await venue.open_accounts(0, 60)
    await watched.work("w-1")
    await watched.check_clears()
    assert "RingfenceWatchdog" in await asyncio.to_thread(watched.prometheus.firing)
    await control(venue, "halt")
    await watched.check_fires("RingfenceHalted")
    watched.prices[INSTRUMENT] = DEEP
    await watched.check_fires("RingfenceBucketNegative", "RingfenceBucketUnordered")
    await control(venue, "resume")
    await watched.check_fires("RingfenceDeficit", "RingfenceOrdersUnanswered")
    await check_recovers(watched)


@pytest.mark.campaign
async def test_orders_held_back_by_a_cap(watched: Watched) -> None:
    await watched.venue.open_accounts(0, 150)
    await watched.work("w-1", more="[caps]\norders_per_second = 4\n")
    watched.prices[INSTRUMENT] = CRASH_PRICE
    await watched.check_fires("RingfenceOrdersThrottled")
    await check_recovers(watched)


@pytest.mark.campaign
async def test_a_shard_that_stops_itself(watched: Watched) -> None:
    venue = watched.venue
    await venue.open_accounts(0, 6)
    await watched.work("w-1", more="[caps]\nmax_futile_attempts = 3\n")
    watched.prices[INSTRUMENT] = CRASH_PRICE
    answered: set[tuple[str, int]] = set()

    async def has_stopped() -> bool:
        await cancel_orders(venue, answered)
        return "RingfenceMalfunction" in await asyncio.to_thread(watched.prometheus.firing)

    await until("it stopped itself", has_stopped, 30)
    watched.prices[INSTRUMENT] = START_PRICE
    await control(venue, "resume")
    await watched.check_clears("RingfenceMalfunction")


@pytest.mark.campaign
async def test_a_ledger_that_cannot_be_right(watched: Watched) -> None:
    venue = watched.venue
    await venue.open_accounts(0, 12)
    await watched.work("w-1")
    for number, (reason, amount) in enumerate([("lock", "4000"), ("withdrawal", "-3000")]):
        transfer = {
            "transfer_id": f"x-{number}",
            "account": "a-1",
            "asset": "USDT",
            "amount": amount,
            "reason": reason,
            "ts_ms": now_ms(),
        }
        await venue.put("transfers", "a-1", transfer)
    await watched.check_fires("RingfenceSegregationBreached")
    fills = [r.offset for r in await venue.read_all(["fills"]) if r.partition == partition_of("a-2", PARTITIONS)]
    statement = {
        "account": "a-2", "balances": {"main": {"USDT": "1"}}, "positions": {}, "through": {"fills": max(fills)}, "ts_ms": now_ms(),
    }  # fmt: skip
    await venue.put("account-statements", "a-2", statement)
    await venue.put("fills", "a-4", b"{")
    await watched.check_fires("RingfenceLedgerDoubtful", "RingfenceBucketsUnchecked", "RingfenceRecordsRefused")
    for account in ("a-2", "a-4"):
        await control(venue, "clear", "account", account, through={"account-statements": 10**6, "fills": 10**6})
    await watched.check_clears()


@pytest.mark.campaign
async def test_marks_that_cannot_be_believed(watched: Watched) -> None:
    venue, name = watched.venue, "ETH-PERP"
    await venue.put("instruments", name, an_instrument() | {"instrument": name, "max_price_age_ms": 1_000})
    watched.prices[name] = 2_000
    await venue.open_accounts(0, 12)
    fill = {
        "fill_id": "eth",
        "account": "a-1",
        "instrument": name,
        "side": "buy",
        "quantity": "0.1",
        "price": "2000",
        "ts_ms": now_ms(),
    }
    await venue.put("fills", "a-1", fill)
    await watched.work("w-1")
    await watched.check_clears()
    watched.prices[name] = None
    await watched.check_fires("RingfenceMarkStale")
    await watched.tick(name, 2_000, ahead_ms=3_600_000)
    await watched.check_fires("RingfenceMarkUnconfirmed")
    watched.prices[INSTRUMENT] = None
    await watched.check_fires("RingfencePricesSilent")
    watched.prices |= {name: 2_000, INSTRUMENT: START_PRICE}
    await watched.check_clears()


@pytest.mark.campaign
async def test_a_worker_that_stands_still(watched: Watched) -> None:
    (worker,) = await watched.work("w-1")
    await watched.check_clears()
    for _ in range(4):
        worker.freeze()
        await asyncio.sleep(PAUSE_S)
        worker.thaw()
        await asyncio.sleep(PAUSE_S / 2)
    late = ("RingfenceLoopStalled", "RingfenceMarksLateFast", "RingfenceMarksLateSlow")
    await watched.check_fires(*late)
    await watched.check_clears("RingfenceLoopStalled", "RingfenceMarksLateFast", within_s=60)


@pytest.mark.campaign
async def test_orders_that_come_late(watched: Watched) -> None:
    """A pause that the worker takes for none: its gates stay open, and it decides on the crash when it goes on."""
    await watched.venue.open_accounts(0, 240)
    (worker,) = await watched.work("w-1", loop_gap_ms=10_000, max_account_lag_ms=10_000)
    await watched.check_clears()
    worker.freeze()
    watched.prices[INSTRUMENT] = CRASH_PRICE
    await asyncio.sleep(PAUSE_S)
    worker.thaw()
    await watched.check_fires("RingfenceOrdersLateFast", "RingfenceOrdersLateSlow")
    await check_recovers(watched)
    await watched.check_clears("RingfenceOrdersLateFast", within_s=60)


@pytest.mark.campaign
async def test_a_worker_that_cannot_keep_up_with_the_ticks(watched: Watched) -> None:
    await watched.venue.open_accounts(0, 30)
    (worker,) = await watched.work("w-1")
    await watched.check_clears()
    flood = asyncio.ensure_future(pour(watched, 150_000))
    squeeze = asyncio.ensure_future(take_turns(worker))
    await watched.check_fires("RingfenceBroadcastLag", within_s=60)
    squeeze.cancel()
    await flood
    worker.thaw()
    await watched.check_clears("RingfenceBroadcastLag", within_s=60)


async def pour(watched: Watched, ticks: int) -> None:
    for number in range(ticks):
        await watched.tick(INSTRUMENT, START_PRICE + number % 7)
    await watched.venue.flush()


async def take_turns(worker: WorkerProcess) -> None:
    """The process gets a third of the time, in pieces that are no standstill and leave scrapes their answers."""
    while True:
        worker.freeze()
        await asyncio.sleep(0.1)
        worker.thaw()
        await asyncio.sleep(0.05)


async def test_workers_that_die(watched: Watched) -> None:
    first, second = await watched.work("w-1", "w-2")
    await watched.check_clears()
    await second.kill()
    await watched.check_fires("RingfenceWorkerDown")
    for _ in range(2):
        await second.start()
        watched.scrape()
        await until("it is scraped", watched.all_are_scraped)
        await second.kill()
    await second.start()
    watched.scrape()
    await watched.check_fires("RingfenceWorkerRestarts")
    await first.kill()
    await second.kill()
    await watched.check_fires("RingfenceNoWorker")
    await asyncio.gather(first.start(), second.start())
    watched.scrape()
    await watched.check_clears("RingfenceNoWorker", "RingfenceWorkerDown", "RingfencePartitionUnowned")


@pytest.mark.campaign
async def test_partitions_that_nobody_watches(watched: Watched) -> None:
    frozen = watched.make("w-1")
    waiting = watched.make("w-2")
    for worker in (frozen, waiting):  # the group waits long for a member that does not answer
        text = worker.config.read_text().replace("session_timeout_ms = 1200", "session_timeout_ms = 20000")
        worker.config.write_text(text.replace("rebalance_timeout_ms = 1500", "rebalance_timeout_ms = 20000"))
    await frozen.start()
    watched.scrape()
    await until("it is scraped", lambda: is_up(watched, "w-1"))
    frozen.freeze()
    await start_unready(watched, waiting)
    await watched.check_fires("RingfencePartitionUnowned")
    frozen.thaw()
    await watched.check_clears("RingfencePartitionUnowned", within_s=60)


async def is_up(watched: Watched, name: str) -> bool:
    return name in await asyncio.to_thread(watched.prometheus.healthy_targets)


@pytest.mark.campaign
async def test_topics_that_are_not_those_of_the_tables(watched: Watched) -> None:
    await watched.venue.open_accounts(0, 30)
    (worker,) = await watched.work("w-1")
    await until("rows are stored", lambda: has_rows(watched))
    await worker.terminate()
    right = worker.config.read_text()
    async with Venue(watched.venue.bootstrap, f"{watched.venue.prefix}new-") as other:
        await other.price(START_PRICE)
        wrong = right.replace(f'topic_prefix = "{watched.venue.prefix}"', f'topic_prefix = "{other.prefix}"')
        worker.config.write_text(wrong)
        await start_unready(watched, worker)
        await watched.check_fires("RingfenceShardRefused", "RingfenceShardUndecided")
        await worker.kill()
    worker.config.write_text(right)
    await worker.start()
    watched.scrape()
    await watched.check_clears()


@pytest.mark.campaign
async def test_a_row_that_was_tampered_with(watched: Watched) -> None:
    await watched.venue.open_accounts(0, 30)
    (worker,) = await watched.work("w-1")
    await until("rows are stored", lambda: has_rows(watched))
    await worker.terminate()
    async with Redis.from_url(watched.redis.url) as client:
        key = min(await client.keys(f"{watched.venue.prefix}{{*}}:buckets"))
        field, row = min((await client.hgetall(key)).items())
        await client.hset(key, field, row[:-1] + bytes([row[-1] ^ 1]))
    await start_unready(watched, worker)
    await watched.check_fires("RingfenceTableDamaged")
    await watched.check_clears()


async def has_rows(watched: Watched) -> bool:
    async with Redis.from_url(watched.redis.url) as client:
        return len(await client.keys(f"{watched.venue.prefix}{{*}}:buckets")) == PARTITIONS


async def start_unready(watched: Watched, worker: WorkerProcess) -> None:
    """Start it and have it scraped, whether or not it gets ready."""
    worker.port = 0
    await worker.start(ready=False)

    async def listens() -> bool:
        await worker.is_ready()
        return worker.port != 0

    await until("it listens", listens)
    watched.scrape()


async def test_a_redis_that_does_not_take_rows(watched: Watched) -> None:
    await watched.venue.open_accounts(0, 30)
    await watched.work("w-1", snapshot_ms=1_000)
    await watched.check_clears()
    watched.redis.pause()
    await watched.venue.open_accounts(30, 6)
    await watched.check_fires("RingfenceStoreDelayed", "RingfenceSnapshotFails")
    watched.redis.resume()
    await watched.check_clears()
    async with Redis.from_url(watched.redis.url) as client:
        await client.config_set("maxmemory", "1")
        await watched.venue.open_accounts(36, 6)
        await watched.check_fires("RingfenceStoreDelayed")
        await client.config_set("maxmemory", "0")
    await watched.check_clears()


@pytest.mark.campaign
async def test_a_broker_that_is_gone(alone: Watched, private_kafka: KafkaServer) -> None:
    await alone.venue.open_accounts(0, 30)
    await alone.work("w-1")
    await alone.check_clears()
    await asyncio.to_thread(private_kafka.kill)
    try:
        await alone.check_fires("RingfenceAccountLag", "RingfenceOutboxGrows", within_s=60)
    finally:
        await asyncio.to_thread(private_kafka.start)
    await alone.check_clears(within_s=60)


@pytest.mark.campaign
async def test_an_orders_topic_that_takes_no_record(watched: Watched) -> None:
    await watched.work("w-1", reclaim_ms=1_000)
    await watched.check_clears()
    await limit_records(watched.venue, "10")
    await watched.check_fires("RingfenceSendsUnknown")
    await limit_records(watched.venue, "1000000")
    await watched.check_clears()


async def limit_records(venue: Venue, size: str) -> None:
    """How large a record of the orders topic may be; what is larger is an error that no repetition mends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=venue.bootstrap)
    await admin.start()
    try:
        topic = ConfigResource(ConfigResourceType.TOPIC, f"{venue.prefix}{ORDERS}", {"max.message.bytes": size})
        (answer,) = await admin.alter_configs([topic])
        assert answer.resources[0][0] == 0, answer
    finally:
        await admin.close()
