"""A worker restarted with a full table: seconds from the start of its process until it is ready, which is until it may decide on every bucket.

`python -m tests.bench.ready 200000` does it with so many. The parts are told by its log. Excluded: filling the table; records that were
written since (none were), which every shard reads after it is restored.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path

from redis.asyncio import Redis

from tests.bench.figures import peak_bytes, processor_s, resident_bytes, row
from tests.bench.filled import fill_table
from tests.bench.parts import PARTITIONS, append, instruments, make_topics, marks, on_own_servers
from tests.integration.venue import until
from tests.integration.worker_process import WorkerProcess

PREFIX = "bench-"
USUAL = 1_000_000
START_S = 300.0
SESSION_MS = 30_000


def times_of(log: str, event: str) -> list[float]:
    """When (epoch s) the worker logged it."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [datetime.fromisoformat(each["timestamp"]).timestamp() for each in entries if each["event"] == event]


async def measured(bootstrap: str, redis_url: str, folder: Path, buckets: int) -> None:
    async with Redis.from_url(redis_url) as redis:
        await fill_table(redis, PREFIX, buckets)
    await make_topics(bootstrap, PREFIX)
    await append(bootstrap, PREFIX, [*instruments(), *marks()])
    worker = WorkerProcess(
        folder, "w-ready", bootstrap, redis_url, PREFIX, session_timeout_ms=SESSION_MS, max_price_silence_ms=600_000,
        price_look_back_ms=600_000,
    )  # fmt: skip
    began = time.time()
    try:
        await worker.start(ready=False)
        await until("the worker is ready", worker.is_ready, START_S)
        ended = time.time()
        assert worker.process is not None
        pid = worker.process.pid
        processor, peak, resident = processor_s(pid), peak_bytes(pid), resident_bytes(pid)
    finally:
        await worker.kill()
    (assigned, *_), restored = times_of(worker.log(), "assigned"), times_of(worker.log(), "shard_restored")
    assert len(restored) == PARTITIONS, worker.log()
    row(
        f"a worker with {buckets} buckets in Redis is ready again, seconds from the start of its process", ended - began, "<= 15",
        f"{assigned - began:.1f} s until it was given its shards, {restored[-1] - assigned:.1f} s until the last of {PARTITIONS} was restored "
        f"(the first after {restored[0] - assigned:.1f} s), {ended - restored[-1]:.1f} s to claim them and read their topics; "
        f"{processor:.1f} s of the processor; {peak / 2**20:.0f} MiB at the peak, {resident / 2**20:.0f} MiB then",
    )  # fmt: skip


if __name__ == "__main__":
    on_own_servers(measured, int(sys.argv[1]) if len(sys.argv) > 1 else USUAL)
