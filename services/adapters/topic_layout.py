"""What the brokers say of the topics that a worker uses, asked once before it starts."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import reaching
from services.adapters.ports import Refused


async def account_partitions(connection: KafkaConnection, account_topics: Iterable[str], others: Iterable[str]) -> int:
    """The partition count that all account topics share. All topics named must exist.

    Raises:
        Unreachable: no broker answers in time.
        Refused: a topic is missing, or the counts differ.
    """
    accounts = sorted(account_topics)
    counts = await partition_counts(connection, [*accounts, *others])
    if missing := sorted(name for name, count in counts.items() if not count):
        raise Refused(f"topics are missing: {', '.join(missing)}; run `ringfence topics create`")
    if len({counts[name] for name in accounts}) != 1:
        told = ", ".join(f"{name} {counts[name]}" for name in accounts)
        raise Refused(f"account topics must have one partition count, they have: {told}; run `ringfence topics check`")
    return counts[accounts[0]]


async def partition_counts(connection: KafkaConnection, names: Iterable[str]) -> dict[str, int]:
    """Partitions of each topic, 0 for one that does not exist."""
    client = AIOKafkaAdminClient(**connection.arguments())
    wanted = sorted(set(names))
    try:
        async with reaching(connection):
            await client.start()
            found = await client.describe_topics(wanted)
    finally:
        await client.close()
    counts = {topic["topic"]: len(topic["partitions"]) for topic in found}
    return {name: counts.get(name, 0) for name in wanted}
