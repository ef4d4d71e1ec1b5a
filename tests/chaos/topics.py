"""What all topics hold after a run, as the oracle of the simulation wants it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import structs

from services.contracts.messages import Claim, Message
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import ACCOUNT_TOPICS, TOPICS
from tests.chaos.venue import PARTITIONS
from tests.integration.venue import as_record
from tests.simulation.oracle import Messages
from tests.simulation.venue import ORDERS

Held = tuple[Record, Message | Refusal]


class Topics:
    """All records, by topic and partition; offsets are places, as no record was ever cut or compacted away."""

    def __init__(self, logs: dict[tuple[str, int], list[Record]]) -> None:
        self._logs = logs

    def log(self, topic: str, partition: int) -> Sequence[Record]:
        return self._logs.get((topic, partition), [])

    def with_value(self, record: Record, value: bytes) -> Topics:
        """The same, but for what one record holds."""
        changed = structs.replace(record, value=value)
        log = [changed if each is record else each for each in self.log(record.topic, record.partition)]
        return Topics(self._logs | {(record.topic, record.partition): log})

    def all(self) -> list[Record]:
        return [record for log in self._logs.values() for record in log]

    def save(self, path: Path) -> None:
        """As a recording (JSON Lines) that the command line replays; without snapshots, which are no JSON."""
        with path.open("wb") as file:
            for record in self.all():
                if record.topic != "snapshots":
                    line = {name: getattr(record, name) for name in ("topic", "partition", "offset", "timestamp_ms")}
                    key = None if record.key is None else record.key.decode()
                    file.write(msgspec.json.encode({**line, "key": key, "value": record.value.decode()}) + b"\n")

    def ends(self, partition: int) -> dict[str, int]:
        return {topic: len(self.log(topic, partition)) for topic in ACCOUNT_TOPICS}


class OfAccount(Messages):
    """The messages as one account has them: its own records of the account topics, and the claims."""

    def __init__(self, messages: Messages, own: dict[str, list[Held]]) -> None:
        self.broker = messages.broker
        self._messages = messages
        self._own = own

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Held]:
        if topic not in ACCOUNT_TOPICS:
            yield from self._messages.read(topic, partition, first, end)
            return
        held = self._own.get(topic, [])
        for index in range(bisect_left(held, first, key=_offset), len(held)):
            if held[index][0].offset >= end:
                return
            yield held[index]


def by_account(messages: Messages, partition: int) -> dict[str, OfAccount]:
    """The accounts of a partition, each with a view of its own."""
    own: dict[str, dict[str, list[Held]]] = defaultdict(lambda: defaultdict(list))
    claims: list[Held] = []
    for topic in ACCOUNT_TOPICS:
        for record, message in messages.read(topic, partition, 0, 1 << 60):
            if isinstance(message, Claim):
                claims.append((record, message))
            else:
                own[getattr(message, "account", "")][topic].append((record, message))
    for topics in own.values():
        topics[ORDERS] = sorted([*topics[ORDERS], *claims], key=_offset)
    return {account: OfAccount(messages, topics) for account, topics in own.items()}


async def read_topics(bootstrap: str, prefix: str) -> Topics:
    """Every record of every topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20
    )
    await consumer.start()
    try:
        places = [
            TopicPartition(f"{prefix}{topic.name}", p)
            for topic in TOPICS
            for p in range(topic.partitions or PARTITIONS)
        ]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        logs: dict[tuple[str, int], list[Record]] = {}
        for place in places:
            consumer.seek(place, 0)
            logs[place.topic.removeprefix(prefix), place.partition] = []
        left = {place for place in places if ends[place]}
        while left:
            for place, raw in (await consumer.getmany(timeout_ms=200)).items():
                topic = place.topic.removeprefix(prefix)
                logs[topic, place.partition] += [as_record(each, topic) for each in raw]
                if raw and raw[-1].offset + 1 >= ends[place]:
                    left.discard(place)
    finally:
        await consumer.stop()
    return Topics(logs)


def _offset(held: Held) -> int:
    return held[0].offset
