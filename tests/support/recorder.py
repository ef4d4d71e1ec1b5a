"""`ringfence record` as its own process, and what a topic holds according to another reader than ours."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.adapters.recordings_rows import Row

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from services.cli.main import app; app()"
WAIT_S = 30


class RecorderProcess:
    """One run; its standard output is read line by line."""

    def __init__(self, bootstrap: str, prefix: str, out: Path, *flags: str) -> None:
        self._environment = {
            **os.environ,
            "RINGFENCE_KAFKA__BOOTSTRAP": bootstrap,
            "RINGFENCE_KAFKA__TOPIC_PREFIX": prefix,
            "RINGFENCE_REDIS__URL": "redis://127.0.0.1:1/0",
        }
        self._arguments = ("record", "--out", str(out), "--json", *flags)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> RecorderProcess:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, *self._arguments, cwd=ROOT, env=self._environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self

    async def line(self) -> dict[str, Any]:
        """The next line of standard output."""
        assert self.process is not None
        assert self.process.stdout is not None
        raw = await asyncio.wait_for(self.process.stdout.readline(), WAIT_S)
        assert raw, await self._errors()
        found: dict[str, Any] = json.loads(raw)
        return found

    async def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def terminate(self) -> tuple[int, dict[str, Any]]:
        """SIGTERM: exit code and the last line."""
        assert self.process is not None
        self.process.terminate()
        return await self.ended()

    async def ended(self) -> tuple[int, dict[str, Any]]:
        """Wait for the end: exit code and the last line of standard output, or what it said on standard error."""
        assert self.process is not None
        out, errors = await asyncio.wait_for(self.process.communicate(), WAIT_S)
        assert self.process.returncode is not None
        lines = out.splitlines()
        last = json.loads(lines[-1]) if lines else {}
        return self.process.returncode, last | {"errors": errors.decode()}

    async def _errors(self) -> str:
        assert self.process is not None
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


async def publish(bootstrap: str, rows: Iterable[Row], prefix: str) -> None:
    """The rows as they are; offsets are the broker's."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2)
    await producer.start()
    try:
        sent = [
            await producer.send(
                f"{prefix}{row.topic}", row.value, key=row.key, partition=row.partition,
                timestamp_ms=row.timestamp_ms, headers=list(row.headers),
            )
            for row in rows
        ]  # fmt: skip
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def publish_transaction(bootstrap: str, topic: str, values: Sequence[bytes], *, commit: bool) -> None:
    """Values in one transaction: its marker is an offset without a record."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-{commit}")
    await producer.start()
    try:
        await producer.begin_transaction()
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def held(bootstrap: str, partitions: dict[str, int], prefix: str) -> list[Row]:
    """All committed records of the topics, by topic, partition and offset."""
    places = [TopicPartition(f"{prefix}{topic}", n) for topic, count in partitions.items() for n in range(count)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, isolation_level="read_committed"
    )  # fmt: skip
    await consumer.start()
    found: list[Row] = []
    try:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(WAIT_S):
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    found += [
                        Row(
                            topic=place.topic.removeprefix(prefix), partition=place.partition, offset=r.offset,
                            timestamp_ms=r.timestamp, key=r.key, value=r.value, headers=tuple(r.headers),
                        )
                        for r in records
                    ]  # fmt: skip
    finally:
        await consumer.stop()
    return sorted(found, key=lambda row: (row.topic, row.partition, row.offset))
