"""A small topic read whole, from its beginning to the end that it has now."""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.ports import Unreachable
from services.contracts.records import Record

POLL_MS: Final = 200


async def read_whole(connection: KafkaConnection, topic: str) -> list[Record]:
    """Every record of `topic` up to the end it has now; of each partition in order. Raises `Unreachable`."""
    consumer = AIOKafkaConsumer(topic, **connection.arguments(), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        async with asyncio.timeout(connection.request_timeout_ms / 1000):
            await consumer.start()
            return await _to_the_end(consumer)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(f"topic {topic} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()


async def _to_the_end(consumer: AIOKafkaConsumer) -> list[Record]:
    ends: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
    found: list[Record] = []
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        for place, batch in (await consumer.getmany(timeout_ms=POLL_MS)).items():
            found += [
                Record(
                    topic=place.topic,
                    partition=place.partition,
                    offset=record.offset,
                    timestamp_ms=record.timestamp,
                    key=record.key,
                    value=record.value or b"",
                )
                for record in batch
                if record.offset < ends[place]
            ]
    return found
