"""The topics as the brokers have them: making the missing ones, and telling how existing ones differ from the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from msgspec import Struct

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import Answer, answered, reaching
from services.adapters.ports import Refused
from services.contracts.topics import TOPICS, Topic

FOR_EVER: Final = "-1"
BROKERS_DEFAULT: Final = -1
SEEN_POLL_S: Final = 0.05
CONFIG_NAMES: Final = ("cleanup.policy", "message.timestamp.type", "retention.ms")
PARTITIONS: Final = "partitions"


class WantedTopic(Struct, frozen=True, kw_only=True):
    """A topic of the catalogue under its physical name, with the configuration that the product relies on."""

    name: str
    partitions: int
    config: dict[str, str]


class FoundTopic(Struct, frozen=True, kw_only=True):
    """A topic as the brokers describe it."""

    name: str
    partitions: int
    config: dict[str, str]


class Difference(Struct, frozen=True, kw_only=True):
    """One way in which a topic is not what is needed; `found` None: the topic does not exist."""

    topic: str
    what: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.topic}: missing"
        return f"{self.topic}: {self.what} is {self.found}, needed is {self.wanted}"


def wanted_topics(prefix: str, account_partitions: int, topics: Iterable[Topic] = TOPICS) -> list[WantedTopic]:
    """The whole catalogue as it must be, in its order."""
    return [
        WantedTopic(
            name=f"{prefix}{topic.name}",
            partitions=topic.partitions or account_partitions,
            config={
                "cleanup.policy": "compact" if topic.compacted else "delete",
                "message.timestamp.type": topic.timestamp_type,
                "retention.ms": FOR_EVER if topic.retention_ms is None else str(topic.retention_ms),
            },
        )
        for topic in topics
    ]


def differences(wanted: Iterable[WantedTopic], found: Mapping[str, FoundTopic]) -> list[Difference]:
    """How the topics differ, in the order of `wanted`. More retention than asked for is no difference."""
    told: list[Difference] = []
    for topic in wanted:
        have = found.get(topic.name)
        if have is None:
            told.append(Difference(topic=topic.name, what="topic", wanted="to exist", found=None))
            continue
        pairs = {PARTITIONS: (str(topic.partitions), str(have.partitions))}
        pairs |= {name: (value, have.config.get(name, "not told")) for name, value in topic.config.items()}
        told += [
            Difference(topic=topic.name, what=what, wanted=needs, found=has)
            for what, (needs, has) in pairs.items()
            if not _is_enough(what, needs, has)
        ]
    return told


def _is_enough(what: str, needs: str, has: str) -> bool:
    if what != "retention.ms" or not has.removeprefix("-").isdigit():
        return needs == has
    return has == FOR_EVER or (needs != FOR_EVER and int(has) >= int(needs))


class TopicAdmin:
    """The few administrative requests that are needed. Get one from `connected`."""

    def __init__(self, client: AIOKafkaAdminClient, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def found(self, names: Sequence[str]) -> dict[str, FoundTopic]:
        """Those of `names` that exist. Never makes a topic by asking for it."""
        existing = sorted(set(await self._bounded(self._client.list_topics())) & set(names))
        if not existing:
            return {}
        described = await self._bounded(self._client.describe_topics(existing))
        counts = {topic["topic"]: len(topic["partitions"]) for topic in described}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(CONFIG_NAMES)) for name in existing]
        configs: dict[str, dict[str, str]] = {}
        for response in await self._bounded(self._client.describe_configs(resources)):
            for code, message, _, name, entries in response.resources:
                if code:
                    raise Refused(f"the configuration of topic {name} cannot be read: {message or for_code(code)}")
                configs[name] = {entry[0]: entry[1] for entry in entries}
        return {name: FoundTopic(name=name, partitions=counts[name], config=configs[name]) for name in existing}

    async def create(self, topics: Sequence[WantedTopic], replication_factor: int = BROKERS_DEFAULT) -> None:
        """Makes the topics and waits until they can be seen; one that somebody else made meanwhile is left as it is.

        Raises:
            Refused: the brokers do not allow it; the text says which topic and why.
            Unreachable: the topics cannot be seen in time.
        """
        new = [
            NewTopic(
                topic.name,
                topic.partitions,
                replication_factor,
                # The client takes the brokers' default only together with an (empty) assignment.
                replica_assignments={} if replication_factor == BROKERS_DEFAULT else None,
                topic_configs=topic.config,
            )
            for topic in topics
        ]
        if not new:
            return
        response = await self._bounded(self._client.create_topics(new))
        for name, code, *detail in response.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Refused(f"topic {name} cannot be made: {(detail and detail[0]) or for_code(code).__name__}")
        await self._bounded(self._until_seen({topic.name for topic in topics}))

    async def _until_seen(self, names: set[str]) -> None:
        while names - set(await self._client.list_topics()):  # noqa: ASYNC110  # the brokers announce nothing to wait for
            await asyncio.sleep(SEEN_POLL_S)

    async def brokers(self) -> int:
        """How many brokers answer for the cluster."""
        return len((await self._bounded(self._client.describe_cluster()))["brokers"])

    async def cluster_id(self) -> str:
        """What the cluster calls itself; it stays when brokers come and go."""
        return str((await self._bounded(self._client.describe_cluster()))["cluster_id"])

    async def _bounded(self, request: Awaitable[Answer]) -> Answer:
        return await answered(request, self._timeout_s)


@asynccontextmanager
async def connected(connection: KafkaConnection) -> AsyncIterator[TopicAdmin]:
    """An admin client for the time of the block. Raises `Unreachable`."""
    client = AIOKafkaAdminClient(**connection.arguments())
    try:
        async with reaching(connection):
            await client.start()
        yield TopicAdmin(client, connection.request_timeout_ms / 1000)
    finally:
        await client.close()
