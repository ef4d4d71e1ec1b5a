"""Topics on a real broker: made as the catalogue says, and every kind of difference told."""

from __future__ import annotations

import pytest
from msgspec import structs

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.ports import Refused, Unreachable
from services.adapters.topic_admin import connected, differences, wanted_topics
from services.contracts.topics import TOPICS
from tests.support.kafka import KafkaServer
from tests.support.process import free_port


async def told(kafka: KafkaServer, prefix: str, partitions: int) -> list[str]:
    wanted = wanted_topics(prefix, partitions)
    async with connected(KafkaConnection(bootstrap=kafka.bootstrap)) as admin:
        found = await admin.found([topic.name for topic in wanted])
    return [str(difference).removeprefix(prefix) for difference in differences(wanted, found)]


async def test_topics_are_made_as_the_catalogue_says(kafka: KafkaServer, topic_prefix: str) -> None:
    wanted = wanted_topics(topic_prefix, 4)
    assert len(await told(kafka, topic_prefix, 4)) == len(wanted), "all are missing at first"
    async with connected(KafkaConnection(bootstrap=kafka.bootstrap)) as admin:
        await admin.create(wanted)
        await admin.create(wanted)  # made twice is made once
        assert await admin.brokers() == 1
    assert await told(kafka, topic_prefix, 4) == []


async def test_every_difference_is_told(kafka: KafkaServer, topic_prefix: str) -> None:
    wanted = wanted_topics(topic_prefix, 4)
    made = {topic.name.removeprefix(topic_prefix): topic for topic in wanted}
    del made["fills"]
    made["prices"] = structs.replace(made["prices"], partitions=2, config={})
    states = made["account-states"]
    made["account-states"] = structs.replace(
        states, config=states.config | {"cleanup.policy": "delete", "retention.ms": "1000"}
    )
    async with connected(KafkaConnection(bootstrap=kafka.bootstrap)) as admin:
        await admin.create(list(made.values()))
    lines = await told(kafka, topic_prefix, 4)
    assert lines == [
        "prices: partitions is 2, needed is 1",
        "prices: message.timestamp.type is CreateTime, needed is LogAppendTime",
        "prices: retention.ms is 604800000, needed is 7776000000",
        "fills: missing",
        "account-states: cleanup.policy is delete, needed is compact",
        "account-states: retention.ms is 1000, needed is -1",
    ]


async def test_another_partition_count_is_a_difference(kafka: KafkaServer, topic_prefix: str) -> None:
    async with connected(KafkaConnection(bootstrap=kafka.bootstrap)) as admin:
        await admin.create(wanted_topics(topic_prefix, 4))
    of_accounts = [topic.name for topic in TOPICS if topic.partitions is None]
    assert await told(kafka, topic_prefix, 8) == [f"{name}: partitions is 4, needed is 8" for name in of_accounts]


async def test_what_the_brokers_do_not_allow_is_told(kafka: KafkaServer, topic_prefix: str) -> None:
    async with connected(KafkaConnection(bootstrap=kafka.bootstrap)) as admin:
        with pytest.raises(Refused, match="cannot be made"):
            await admin.create(wanted_topics(topic_prefix, 1), replication_factor=3)


async def test_no_broker_is_told_in_bounded_time() -> None:
    connection = KafkaConnection(bootstrap=f"127.0.0.1:{free_port()}", request_timeout_ms=2_000)
    with pytest.raises(Unreachable, match="no Kafka broker answers"):
        async with connected(connection):
            pass
