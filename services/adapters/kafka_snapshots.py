"""`SnapshotLog` over Kafka: a consumer and a producer of its own for each use, minutes apart; orders never wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_producer import KafkaProducer
from services.adapters.ports import Outgoing, Unreachable
from services.contracts.records import Record

POLL_MS: Final = 200
CHUNK: Final = 500


class KafkaSnapshots:
    """The topic of snapshots."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic

    async def read(self, partition: int) -> list[Record]:
        """See `SnapshotLog.read`. Each wait for the broker is bounded, the whole is not: a big shard takes its time."""
        consumer = AIOKafkaConsumer(
            **self._connection.arguments(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        place = TopicPartition(self._topic, partition)
        timeout_s = self._connection.request_timeout_ms / 1000
        try:
            async with asyncio.timeout(timeout_s):
                await consumer.start()
                consumer.assign([place])
                end = (await consumer.end_offsets([place]))[place]
            found: list[Record] = []
            while True:
                async with asyncio.timeout(timeout_s):
                    if await consumer.position(place) >= end:
                        return found
                    fetched = await consumer.getmany(place, timeout_ms=POLL_MS)
                found += [
                    Record(
                        topic=self._topic, partition=partition, offset=r.offset, timestamp_ms=r.timestamp, key=r.key, value=r.value or b""
                    )
                    for r in fetched.get(place, ())
                ]  # fmt: skip
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unreachable(f"{self._topic}[{partition}] cannot be read: {error!r}") from error
        finally:
            await consumer.stop()

    async def write(self, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        """See `SnapshotLog.write`."""
        producer = KafkaProducer(self._connection)
        await producer.start()
        waiting, is_whole = iter(records), False
        try:
            while chunk := list(islice(waiting, CHUNK)):
                sent = await producer.send([Outgoing(self._topic, partition, key, value) for key, value in chunk])
                async with asyncio.timeout(self._connection.request_timeout_ms / 1000):
                    await asyncio.gather(*(each.first for each in sent))
            is_whole = True
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unreachable(f"{self._topic}[{partition}] cannot be written: {error!r}") from error
        finally:  # also when the shard goes meanwhile: no producer stays behind
            await (producer.close() if is_whole else producer.abandon())
