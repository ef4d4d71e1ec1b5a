"""The simulated venue's connection to Kafka: appends what it books, reads what the monitor writes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord, RecordMetadata

from services.adapters.embedded import FETCH_MAX_WAIT_MS
from services.contracts.identifiers import partition_of
from services.contracts.records import Record
from services.contracts.topics import TOPICS

START_TIMEOUT_S: Final = 20.0
POLL_MS: Final = 100
Acknowledged: TypeAlias = Callable[[Record], None]


class Wire:
    """One producer and one consumer. Every record is kept in the order in which the venue saw it: the venue's recording."""

    def __init__(self, bootstrap: str, reads: Sequence[str]) -> None:
        """`reads` are the topics of the monitor that the venue follows, all of their partitions from the beginning."""
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, fetch_max_wait_ms=FETCH_MAX_WAIT_MS, auto_offset_reset="earliest"
        )
        self._reads = reads
        self._counts: dict[str, int] = {}
        self._unacknowledged: set[asyncio.Future[RecordMetadata]] = set()
        self._failure: BaseException | None = None
        self._price_partitions: dict[str, int] = {}

    async def start(self) -> None:
        """Connects, and makes every topic: the embedded broker does so when it is first asked about one.

        Raises `TimeoutError` or `aiokafka.errors.KafkaError`.
        """
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._producer.start()
            await self._consumer.start()
            for topic in TOPICS:
                self._counts[topic.name] = len(await self._producer.partitions_for(topic.name))
        self._consumer.assign(
            [TopicPartition(topic, partition) for topic in self._reads for partition in range(self.partitions(topic))]
        )

    def partitions(self, topic: str) -> int:
        """How many the broker has of a topic; known once started."""
        return self._counts[topic]

    async def close(self) -> None:
        """Disconnects, at most after `START_TIMEOUT_S`."""
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._consumer.stop()
            await self._producer.stop()

    async def publish(self, topic: str, key: str, value: bytes, timestamp_ms: int, acknowledged: Acknowledged) -> None:
        """Appends a record to the partition of its key; `acknowledged` gets the record when the broker has it.

        Raises the error of an earlier record that the broker did not take.
        """
        if self._failure is not None:
            raise self._failure
        partition = self._partition(topic, key)
        future = await self._producer.send(
            topic, value, key=key.encode(), partition=partition, timestamp_ms=timestamp_ms
        )
        self._unacknowledged.add(future)

        def done(answered: asyncio.Future[RecordMetadata]) -> None:
            self._unacknowledged.discard(answered)
            if answered.cancelled():
                return
            if (error := answered.exception()) is not None:
                self._failure = error
                return
            acknowledged(
                Record(
                    topic=topic, partition=partition, offset=answered.result().offset, timestamp_ms=timestamp_ms,
                    key=key.encode(), value=value,
                )
            )  # fmt: skip

        future.add_done_callback(done)

    def _partition(self, topic: str, key: str) -> int:
        """By murmur2 of the key; prices in turns by instrument, so that no partition carries more of them than another."""
        if topic != "prices":
            return partition_of(key, self._counts[topic])
        return self._price_partitions.setdefault(key, len(self._price_partitions) % self._counts[topic])

    async def flush(self) -> None:
        """Waits until everything appended so far is acknowledged."""
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._producer.flush()

    async def read(self) -> list[Record]:
        """What the monitor wrote since the last call; waits at most `POLL_MS` for something."""
        batches: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = await self._consumer.getmany(timeout_ms=POLL_MS)
        return [
            Record(
                topic=row.topic, partition=row.partition, offset=row.offset, timestamp_ms=row.timestamp, key=row.key,
                value=row.value or b"",
            )
            for rows in batches.values()
            for row in rows
        ]  # fmt: skip
