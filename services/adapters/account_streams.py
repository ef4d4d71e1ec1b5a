"""The Faust application: agents on the account topics, and the shards' owner's way to steer what they are fed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from mode.utils.logging import get_logger

from services.adapters.batch_transport import (
    BatchConsumer,
    BatchTransport,
    IllegalStateError,
    StreamSettings,
    verify_private_names,
)
from services.adapters.ports import Batch, Feed, LogRange, Revocable, Unreachable

BATCHES_BUFFERED: Final = 8  # a channel; each batch is at most `max_partition_fetch_bytes`
COMMIT_TIMEOUT_S: Final = 5.0

logger = get_logger(__name__)


class AccountStreams:
    """`AccountInput` over a Faust app. Faust acknowledges and commits nothing: no offset of the group drives anything."""

    def __init__(self, settings: StreamSettings, fold: Callable[[Batch], Awaitable[None]], owner: Revocable) -> None:
        verify_private_names()
        self._settings = settings
        self._physical = {logical: physical for physical, logical in settings.logical.items()}
        self._fold = fold
        self._owner = owner
        self.app = make_app(settings)
        self.app.transport = BatchTransport(settings, self.app)
        for physical in settings.logical:
            self._add_agent(physical)
        self.app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        self.app.on_partitions_assigned.connect(self._on_assigned, weak=False)

    def _add_agent(self, physical: str) -> None:
        """An agent that folds whole batches. Whatever it raises ends the process: nothing may be skipped."""
        topic = self.app.topic(
            physical, key_type=bytes, value_type=None, value_serializer="raw", acks=False, maxsize=BATCHES_BUFFERED
        )

        async def fold_batches(stream: Any) -> None:
            async for batch in stream.noack():
                try:
                    await self._fold(batch)
                except Exception as error:
                    await self.app.crash(error)
                    raise

        self.app.agent(topic, name=f"fold-{physical}")(fold_batches)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        await self._owner.revoked()

    async def _on_assigned(self, *args: Any, **__: Any) -> None:
        """Faust resumes an empty assignment without the seek that tells us of the others. Called with app and partitions."""
        self._consumer.on_ready = self._on_ready
        if not args[1]:
            self._owner.assigned(frozenset())

    def _on_ready(self, assigned: frozenset[TP]) -> None:
        topics_of: dict[int, set[str]] = {}
        for tp in assigned:
            topics_of.setdefault(tp.partition, set()).add(tp.topic)
        whole = {partition for partition, topics in topics_of.items() if topics == set(self._settings.logical)}
        if partial := set(topics_of) - whole:
            logger.error("Partitions %s are not assigned in every account topic; they are left alone", sorted(partial))
        self._owner.assigned(frozenset(whole))

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer

    def _tp(self, topic: str, partition: int) -> TP:
        return TP(self._physical[topic], partition)

    async def ranges(self, partition: int) -> Mapping[str, LogRange]:
        tps = [TP(physical, partition) for physical in self._settings.logical]
        try:
            found = await self._consumer.in_thread(self._consumer.thread.log_ranges(tps))
        except (KafkaError, TimeoutError) as error:
            raise Unreachable(f"Kafka does not tell the ends of partition {partition}: {error!r}") from error
        return {self._settings.logical[tp.topic]: found[tp] for tp in tps}

    async def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        try:
            await self._consumer.start_from({self._tp(topic, partition): at for topic, at in offsets.items()})
        except IllegalStateError as error:
            raise Unreachable(f"partition {partition} is not assigned any more") from error

    def feed(self, topic: str, partition: int) -> Feed | None:
        return self._consumer.thread.feed(self._tp(topic, partition))

    async def commit(self, partition: int, offsets: Mapping[str, int]) -> None:
        physical = {self._tp(topic, partition): at for topic, at in offsets.items()}
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._consumer.in_thread(self._consumer.thread.commit_offsets(physical))
        except (KafkaError, TimeoutError) as error:
            logger.info("Group offsets of partition %s were not shown: %r", partition, error)


class QuietApp(faust.App):
    """Faust makes folders for its tables in the working directory; this product keeps none there, and may not write there."""

    def _create_directories(self) -> None:
        pass


def make_app(settings: StreamSettings) -> faust.App:
    """A Faust app without web server, leader, topic declaration, table or producer of its own."""
    timeout_s = settings.connection.request_timeout_ms / 1000
    app = QuietApp(
        settings.group,
        autodiscover=False,
        store="memory://",
        processing_guarantee="at_least_once",
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
        broker_rebalance_timeout=settings.rebalance_timeout_ms / 1000,
        broker_request_timeout=timeout_s,
        broker_max_poll_interval=60.0,
        producer_request_timeout=timeout_s,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_metrics_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.boot_strategy.enable_kafka_producer = False
    return app
