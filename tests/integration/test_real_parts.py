"""The real servers behave as the other integration tests assume: data and ports survive a kill."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from tests.support.kafka import KafkaServer, create_topics
from tests.support.redis import RedisServer

WAIT_S = 30


async def produce(bootstrap: str, topic: str, value: bytes) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        return int((await producer.send_and_wait(topic, value, partition=0)).offset)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[tuple[bytes, int]]:
    """The first `count` records of partition 0: value and timestamp type (1 = append time)."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        return [(record.value, record.timestamp_type) for record in [await consumer.getone() for _ in range(count)]]
    finally:
        await consumer.stop()


async def test_kafka_carries_records_and_stamps_append_time(kafka: KafkaServer, topic_prefix: str) -> None:
    topic = f"{topic_prefix}fills"
    await create_topics(kafka.bootstrap, {topic: 2}, config={"message.timestamp.type": "LogAppendTime"})
    offset = await asyncio.wait_for(produce(kafka.bootstrap, topic, b"one"), WAIT_S)
    assert offset == 0
    assert await asyncio.wait_for(read(kafka.bootstrap, topic, 1), WAIT_S) == [(b"one", 1)]


async def test_a_frozen_kafka_answers_nothing_and_a_killed_one_keeps_what_it_acknowledged(
    private_kafka: KafkaServer, topic_prefix: str
) -> None:
    private_kafka.pause()
    assert not await asyncio.to_thread(private_kafka.is_ready)
    private_kafka.resume()
    await asyncio.to_thread(private_kafka.wait_ready)
    assert private_kafka.running
    topic = f"{topic_prefix}orders"
    await create_topics(private_kafka.bootstrap, {topic: 1})
    await asyncio.wait_for(produce(private_kafka.bootstrap, topic, b"before"), WAIT_S)
    private_kafka.kill()
    assert not private_kafka.is_ready()
    await asyncio.to_thread(private_kafka.restart)
    await asyncio.wait_for(produce(private_kafka.bootstrap, topic, b"after"), WAIT_S)
    values = [value for value, _ in await asyncio.wait_for(read(private_kafka.bootstrap, topic, 2), WAIT_S)]
    assert values == [b"before", b"after"]


async def test_redis_keeps_what_it_acknowledged_across_a_kill(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url) as client:
        await client.hset("{p000}:buckets", "a-1|main", "row")
    redis_server.kill()
    assert not redis_server.is_ready()
    await asyncio.to_thread(redis_server.restart)
    async with Redis.from_url(redis_server.url) as client:
        assert await client.hgetall("{p000}:buckets") == {b"a-1|main": b"row"}
