"""Who publishes: the member of a consumer group that is given the one partition of `risk-parameters`.

The brokers' group coordinator elects and notices a death; nothing else is needed. A member that was paused through its own removal
may still believe that it is elected: what keeps it from writing is the transactional id (`writer.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from services.adapters.assignor import ShardAssignor
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import reaching

POLL_MS: Final = 500


@dataclass(frozen=True, kw_only=True)
class ElectionSettings:
    """`topic` is the physical name of `risk-parameters`."""

    connection: KafkaConnection
    group: str
    topic: str
    session_timeout_ms: int = 6_000
    heartbeat_interval_ms: int = 1_500
    rebalance_timeout_ms: int = 10_000


class Election(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no stubs
    """`elected` is set while we are, `lost` while we are not."""

    def __init__(self, settings: ElectionSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self.elected = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost.set()

    async def start(self) -> None:
        """Join the group.

        Raises:
            Unreachable: no broker answers in time.
        """
        settings = self._settings
        self._consumer = AIOKafkaConsumer(
            **settings.connection.arguments(), group_id=settings.group, enable_auto_commit=False,
            auto_offset_reset="latest", session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms, rebalance_timeout_ms=settings.rebalance_timeout_ms,
            partition_assignment_strategy=[ShardAssignor()],
        )  # fmt: skip
        self._consumer.subscribe([settings.topic], listener=self)
        async with reaching(settings.connection):
            await self._consumer.start()

    async def keep(self) -> None:
        """Stay a member for ever; what the topic holds is read by others."""
        assert self._consumer is not None
        while True:
            await self._consumer.getmany(timeout_ms=POLL_MS)

    async def stop(self) -> None:
        """Leave the group, so that another is elected at once."""
        self._end()
        if self._consumer is not None:
            await self._consumer.stop()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # the listener's interface
        """A rebalance began: whoever is elected next may be another."""
        self._end()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """We publish if the first partition is ours."""
        if any(tp.partition == 0 for tp in assigned):
            self.lost.clear()
            self.elected.set()

    def _end(self) -> None:
        self.elected.clear()
        self.lost.set()
