"""A recording back into topics, under another prefix: for game days in a sandbox, with the spacing that it was recorded with.

Partitions, keys, values (tombstones too), headers and timestamps are the recorded ones; offsets are the target's own, so
whatever speaks of offsets (claims, evidence, statements) speaks of the log that was recorded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError, RecordTooLargeError
from msgspec import Struct

from services.adapters.clock import SystemClock
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.ports import Clock, Refused, Unreachable
from services.adapters.recordings_rows import Row
from services.adapters.topic_admin import FoundTopic, WantedTopic, connected

IN_FLIGHT: Final = 20_000
MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
FLUSH_TIMEOUT_S: Final = 30.0
# What is made here keeps all of an old recording, with the times that it was recorded at.
TARGET_CONFIG: Final = {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime", "retention.ms": "-1"}


class Target(Struct, frozen=True, kw_only=True):
    """Where to. `speed`: how many times as fast as recorded; None: as fast as possible."""

    connection: KafkaConnection
    prefix: str
    speed: float | None = 1.0


class Published(Struct, frozen=True, kw_only=True):
    """What was published. `latest_s`: by how much a record left after its moment, at most; 0 without a speed."""

    records: int
    elapsed_s: float
    latest_s: float
    is_whole: bool


class Republisher:
    """Publishes rows. `prepare` first: it refuses before anything is sent."""

    def __init__(self, target: Target, clock: Clock | None = None) -> None:
        self._target = target
        self._clock = clock or SystemClock()
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        self._sent = 0
        self._latest_s = 0.0

    async def prepare(self, partitions: Mapping[str, int], note: Callable[[str], object]) -> None:
        """Make the topics that are missing, and see that the others can take every partition.

        Raises:
            Refused: a topic has too few partitions, or cannot be made.
            Unreachable: no broker answers.
        """
        names = {f"{self._target.prefix}{topic}": count for topic, count in partitions.items()}
        async with connected(self._target.connection) as admin:
            found = await admin.found(sorted(names))
            for name, topic in found.items():
                _check(topic, names[name], note)
            missing = sorted(set(names) - set(found))
            await admin.create(
                [WantedTopic(name=name, partitions=names[name], config=TARGET_CONFIG) for name in missing]
            )
        if missing:
            note(f"made {', '.join(missing)}")

    async def publish(self, rows: Iterable[Row], stop: asyncio.Event) -> Published:
        """Publish the rows in their order, until `stop`. Everything that was sent is acknowledged when it returns.

        Raises:
            Unreachable: the brokers do not take a record in time.
            Refused: they never will.
        """
        producer = AIOKafkaProducer(
            **self._target.connection.arguments(), acks="all", enable_idempotence=True,
            linger_ms=5 if self._target.speed is None else 0, max_request_size=MAX_REQUEST_BYTES,
        )  # fmt: skip
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._target.connection.request_timeout_ms / 1000):
                await producer.start()
            await self._send_all(producer, rows, stop)
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._settle(0)
        except (MessageSizeTooLargeError, RecordTooLargeError, InvalidTimestampError) as error:
            raise Refused(f"the brokers refuse a record: {error!r}") from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unreachable(f"{self._target.connection.bootstrap} takes no records: {error!r}") from error
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await producer.stop()
        return Published(
            records=self._sent,
            elapsed_s=self._clock.monotonic() - began,
            latest_s=self._latest_s,
            is_whole=not stop.is_set(),
        )

    async def _send_all(self, producer: AIOKafkaProducer, rows: Iterable[Row], stop: asyncio.Event) -> None:
        began, first_ms, reached_ms = self._clock.monotonic(), None, 0
        for row in rows:
            first_ms = row.timestamp_ms if first_ms is None else first_ms
            reached_ms = max(reached_ms, row.timestamp_ms)
            if self._target.speed is not None:
                await self._wait(began + (reached_ms - first_ms) / 1000 / self._target.speed, stop)
            if stop.is_set():
                return
            sent = await producer.send(
                f"{self._target.prefix}{row.topic}", row.value, key=row.key, partition=row.partition,
                timestamp_ms=row.timestamp_ms, headers=list(row.headers),
            )  # fmt: skip
            self._in_flight.append(sent)
            self._sent += 1
            await self._settle(IN_FLIGHT)

    async def _wait(self, due: float, stop: asyncio.Event) -> None:
        left = due - self._clock.monotonic()
        if left <= 0:
            self._latest_s = max(self._latest_s, -left)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), left)

    async def _settle(self, allowed: int) -> None:
        """Wait until no more than `allowed` records are on their way; an error of one of them is raised."""
        while self._in_flight and (len(self._in_flight) > allowed or self._in_flight[0].done()):
            await self._in_flight.popleft()


def _check(topic: FoundTopic, needed: int, note: Callable[[str], object]) -> None:
    if topic.partitions < needed:
        raise Refused(
            f"topic {topic.name} has {topic.partitions} partitions, the recording needs {needed}: choose another prefix, "
            "or delete the topic and let this make it"
        )
    if topic.config.get("message.timestamp.type") == "LogAppendTime":
        note(
            f"{topic.name}: its brokers stamp records themselves (LogAppendTime), the recorded timestamps are lost there"
        )


def is_original(target_prefix: str, recorded_prefix: str | None) -> bool:
    """Whether the target's names are the product's own, or those that were recorded."""
    return target_prefix in ("", recorded_prefix)
