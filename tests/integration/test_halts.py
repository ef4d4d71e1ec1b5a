"""An operator's halt on the real Kafka: how long after its acknowledgement the last order leaves; and that a resume lets all go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from services.contracts.records import Record
from services.contracts.topics import BROADCAST_TOPICS
from tests.integration.venue import CRASH_PRICE, INSTRUMENT, ORDERS, START_PRICE, Venue, now_ms, until
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

Make = Callable[..., WorkerProcess]
MOST_MS = 100
UNDER = 80  # accounts that the crash makes liquidatable
CAPS = "[caps]\norders_per_second = 40\n"  # so that a storm lasts long enough to halt in the middle of it


@pytest.fixture
async def venue(kafka: KafkaServer, topic_prefix: str) -> AsyncIterator[Venue]:
    async with Venue(kafka.bootstrap, topic_prefix) as running:
        yield running


@pytest.fixture
async def make(venue: Venue, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes workers; whatever still runs at the end is killed."""
    made: list[WorkerProcess] = []

    def new(name: str) -> WorkerProcess:
        made.append(WorkerProcess(tmp_path, name, venue.bootstrap, redis_server.url, venue.prefix))
        return made[-1]

    yield new
    for worker in made:
        if worker.process is not None:
            await worker.kill()


async def order_records(venue: Venue) -> list[Record]:
    return [record for record in await venue.read_all([ORDERS]) if b'"type":"order"' in record.value]


async def control(venue: Venue, action: str, scope: str, target: str) -> int:
    """When the control was acknowledged."""
    assert "controls" in BROADCAST_TOPICS
    value = {"control_id": f"c-{now_ms()}", "scope": scope, "target": target, "action": action, "ts_ms": now_ms()}
    await (await venue.put("controls", f"{scope}:{target}", value))
    return now_ms()


async def has_ordered(venue: Venue, count: int) -> bool:
    return len(await venue.valid_orders()) >= count


async def has_read(worker: WorkerProcess, records: float) -> bool:
    return await worker.metric("ringfence_records_total") >= records


async def more_marks(venue: Venue, worker: WorkerProcess) -> None:
    """Marks that would have every liquidatable bucket ordered, and the time to do so."""
    seen = await worker.metric("ringfence_records_total")
    for step in range(5):
        await venue.price(CRASH_PRICE - step)
        await until("the mark is read", partial(has_read, worker, seen + step + 1))


async def storm(venue: Venue, make: Make) -> WorkerProcess:
    """A worker in the middle of more liquidations than its caps let out at once."""
    await venue.price(START_PRICE)
    await venue.open_accounts(0, 3 * UNDER, fills=1)
    await venue.flush()
    worker = make("w-1")
    worker.config.write_text(worker.config.read_text() + CAPS)
    await worker.start()
    await venue.price(CRASH_PRICE)
    await until("orders leave", partial(has_ordered, venue, 5))
    return worker


@pytest.mark.parametrize(("scope", "target"), [("all", "*"), ("instrument", INSTRUMENT)])
async def test_a_halt_stops_orders_in_a_tenth_of_a_second(venue: Venue, make: Make, scope: str, target: str) -> None:
    worker = await storm(venue, make)
    halted_ms = await control(venue, "halt", scope, target)
    await more_marks(venue, worker)
    orders = await order_records(venue)
    late_ms = max(record.timestamp_ms for record in orders) - halted_ms
    assert late_ms <= MOST_MS
    assert len(orders) < UNDER, "there was more to order"
    await control(venue, "resume", scope, target)
    await until("the rest is ordered", partial(has_ordered, venue, UNDER))


async def test_a_halted_account_is_passed_over_and_no_other(venue: Venue, make: Make) -> None:
    worker = await storm(venue, make)
    ordered = {order.account for order in await venue.valid_orders()}
    spared = next(f"a-{number}" for number in range(3 * UNDER - 3, 0, -3) if f"a-{number}" not in ordered)
    halted_ms = await control(venue, "halt", "account", spared)
    await until("all others are ordered", partial(has_ordered, venue, UNDER - 1))
    await more_marks(venue, worker)
    of_spared = [r for r in await order_records(venue) if r.key == spared.encode()]
    assert all(record.timestamp_ms - halted_ms <= MOST_MS for record in of_spared)
    await control(venue, "resume", "account", spared)
    await until("it is ordered too", partial(has_ordered, venue, UNDER))


async def test_no_second_sees_more_than_the_cap(venue: Venue, make: Make) -> None:
    worker = await storm(venue, make)
    await until("all is ordered", partial(has_ordered, venue, UNDER))
    sent: dict[int, list[int]] = {}
    for record in await order_records(venue):
        sent.setdefault(record.partition, []).append(record.timestamp_ms)
    for times in sent.values():
        # The worker counts by its own clock, an instant before the producer stamps: 50 ms are allowed for.
        assert max(sum(at <= each < at + 950 for each in times) for at in times) <= 40 // len(sent)

    async def none_is_held() -> bool:
        return await worker.metric("ringfence_orders_held") == 0

    await until("no order is held any more", none_is_held)
    assert len({order.account for order in await venue.valid_orders()}) == UNDER
