"""What `docker compose --profile demo up` puts together, on a real Kafka and Redis: topics, two workers, the simulated venue, `top`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from services.contracts.codec import decode
from services.contracts.messages import OrderEvent
from services.contracts.status import WorkerStatus
from tests.integration.venue import until
from tests.integration.worker_process import PROGRAM, ROOT, WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

ACCOUNTS = 40


async def command(config: Path, log: Path, *arguments: str) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, *arguments, "--config", str(config),
            cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


async def answers(bootstrap: str) -> list[OrderEvent]:
    """What the venue answered to orders so far."""
    consumer = AIOKafkaConsumer("order-events", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found = await consumer.getmany(timeout_ms=2_000)
        messages = [decode("order-events", record.value) for records in found.values() for record in records]
        return [message for message in messages if isinstance(message, OrderEvent)]
    finally:
        await consumer.stop()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_workers_and_a_venue(private_kafka: KafkaServer, redis_server: RedisServer, tmp_path: Path) -> None:
    workers = [WorkerProcess(tmp_path, f"w-{n}", private_kafka.bootstrap, redis_server.url, "") for n in (1, 2)]
    config, log = workers[0].config, tmp_path / "venue.log"
    made = await command(
        config, tmp_path / "topics.log", "topics", "create", "--partitions", "4", "--replication-factor", "1"
    )
    assert await asyncio.wait_for(made.wait(), 60) == 0, (tmp_path / "topics.log").read_text()
    venue = await command(config, log, "venue", "--accounts", str(ACCOUNTS), "--seconds", "6", "--seed", "3")
    try:
        for worker in workers:
            await worker.start(ready=False)

        async def has_crashed() -> bool:
            assert venue.returncode is None, log.read_text()
            return '"venue_holds"' in log.read_text()

        await until(f"the crash is over {log.read_text()}", has_crashed, timeout_s=150)
        for worker in workers:
            await until(f"{worker.name} is ready", worker.is_ready, timeout_s=30)
        statuses = [msgspec.json.decode((await worker.get("/statusz"))[1], type=WorkerStatus) for worker in workers]
        told = await answers(private_kafka.bootstrap)
        venue.terminate()
        assert await asyncio.wait_for(venue.wait(), 30) == 0, log.read_text()
    finally:
        for process in (venue, *(worker.process for worker in workers)):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
    assert sorted(shard.partition for status in statuses for shard in status.shards) == [0, 1, 2, 3]
    assert sum(sum(status.statuses.values()) for status in statuses) >= ACCOUNTS
    assert sum(status.orders_decided for status in statuses) > 0
    assert "filled" in {event.status for event in told}
    assert all(event.account.startswith("a") and "-" in event.account for event in told)
