"""The account topics and the journal for a standby: every partition, read by a plain consumer that belongs to no group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from mode import Service

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import reaching
from services.adapters.ports import Batch, Clock, Feed, LogRange, Refused, Unreachable
from services.contracts.records import Record

POLL_MS: Final = 50


@dataclass(frozen=True)
class StandbySettings:
    """What to read. The journal is read from `look_back_ms` ago: so long ago every owner said at least once what it owns."""

    connection: KafkaConnection
    logical: Mapping[str, str]  # physical account topic -> topic as the engine knows it
    journal: str  # physical
    partitions: int
    look_back_ms: int
    fetch_max_wait_ms: int = 100


class StandbyInput(Service):
    """`AccountInput` of all partitions. One that was not sought yet delivers nothing.

    `hear(partition, values)` gets the records of the journal, in order; `listened(partition)` says that none waits there.
    """

    def __init__(
        self,
        settings: StandbySettings,
        clock: Clock,
        fold: Callable[[Batch], Awaitable[None]],
        hear: Callable[[int, list[bytes]], None],
        listened: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._clock = clock
        self._fold = fold
        self._hear = hear
        self._listened = listened
        self._physical = {logical: physical for physical, logical in settings.logical.items()}
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[TopicPartition, int] = {}  # what was delivered, of those that were sought
        self._rounds: dict[TopicPartition, int] = {}  # counts the seeks
        self._answered: dict[TopicPartition, int] = {}  # journal -> time of the broker's answer that was noted last

    async def on_start(self) -> None:
        """Connect, and start with the journal.

        Raises:
            Unreachable: no broker answers.
        """
        settings = self._settings
        consumer = AIOKafkaConsumer(
            **settings.connection.arguments(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
        )
        journal = [TopicPartition(settings.journal, p) for p in range(settings.partitions)]
        accounts = [TopicPartition(topic, p) for topic in settings.logical for p in range(settings.partitions)]
        try:
            async with reaching(settings.connection):
                await consumer.start()
                since = self._clock.now_ms() - settings.look_back_ms
                found = await consumer.offsets_for_times(dict.fromkeys(journal, since))
                ends = await consumer.end_offsets(journal)
                begins = await consumer.beginning_offsets(accounts)
        except Unreachable:
            await consumer.stop()
            raise
        consumer.assign([*accounts, *journal])
        for tp in accounts:
            consumer.seek(tp, begins[tp])  # a partition without a position is an error, also while it is not read
        consumer.pause(*accounts)
        for tp in journal:
            consumer.seek(tp, found[tp].offset if found.get(tp) is not None else ends[tp])
        self._consumer = consumer

    async def on_stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    # -- AccountInput --------------------------------------------------------------------------------------------------

    async def ranges(self, partition: int) -> Mapping[str, LogRange]:
        consumer = self._connected()
        tps = [TopicPartition(physical, partition) for physical in self._settings.logical]
        try:
            begins, ends = await asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
        except (KafkaError, TimeoutError) as error:
            raise Unreachable(f"Kafka does not tell the ends of partition {partition}: {error!r}") from error
        return {self._settings.logical[tp.topic]: LogRange(begins[tp], ends[tp]) for tp in tps}

    async def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        consumer = self._connected()
        for topic, at in offsets.items():
            tp = TopicPartition(self._physical[topic], partition)
            self._rounds[tp] = self._rounds.get(tp, 0) + 1
            self._positions[tp] = at
            consumer.seek(tp, at)
            consumer.resume(tp)

    def feed(self, topic: str, partition: int) -> Feed | None:
        return self._feed(TopicPartition(self._physical[topic], partition))

    async def commit(self, partition: int, offsets: Mapping[str, int]) -> None:
        """A standby belongs to no group that could show its progress."""

    # -- reading -------------------------------------------------------------------------------------------------------

    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Unreachable("Kafka is not connected yet")
        return self._consumer

    def _feed(self, tp: TopicPartition) -> Feed | None:
        state = self._state(tp)
        if state is None or state.timestamp is None:
            return None
        end = state.lso if state.lso is not None and state.lso >= 0 else state.highwater
        return Feed(end, state.timestamp)

    def _state(self, tp: TopicPartition) -> Any:
        if self._consumer is None:
            return None
        assignment = self._consumer._subscription.subscription.assignment
        return assignment.state_value(tp) if assignment is not None else None

    def _position(self, tp: TopicPartition) -> int | None:
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else None

    @Service.task
    async def _read(self) -> None:
        try:
            while not self.should_stop:
                await self._poll()
        except (OffsetOutOfRangeError, NoOffsetForPartitionError, CorruptRecordException) as error:
            raise Refused(
                f"a topic cannot be read on: {error!r}. The log was cut or damaged below what is not read yet; restore the topic, "
                "or start this standby again"
            ) from error

    async def _poll(self) -> None:
        fetched = await self._connected().getmany(timeout_ms=POLL_MS)
        for tp in sorted(tp for tp in fetched if tp.topic == self._settings.journal):
            self._hear(tp.partition, [raw.value or b"" for raw in fetched[tp]])
        self._note_answers()
        batches = [
            (tp, self._rounds[tp], start, end)
            for tp, start in sorted(self._positions.items())
            if (end := self._position(tp)) is not None and end > start
        ]
        self._positions |= {tp: end for tp, _, _, end in batches}
        for tp, round_, start, end in batches:
            if self._rounds[tp] == round_:  # else it was sought again while the others were folded
                await self._fold(self._batch(tp, start, end, fetched.get(tp, [])))

    def _note_answers(self) -> None:
        """Each answer of the broker that leaves nothing unread says that the journal is heard up to now."""
        for partition in range(self._settings.partitions):
            tp = TopicPartition(self._settings.journal, partition)
            feed, position = self._feed(tp), self._position(tp)
            if feed is None or position is None or position < feed.end or self._answered.get(tp) == feed.heard_ms:
                continue
            self._answered[tp] = feed.heard_ms
            self._listened(partition)

    def _batch(self, tp: TopicPartition, start: int, end: int, fetched: list[Any]) -> Batch:
        topic = self._settings.logical[tp.topic]
        records = [
            Record(
                topic=topic, partition=tp.partition, offset=r.offset, timestamp_ms=r.timestamp, key=r.key,
                value=r.value or b"",
            )
            for r in fetched
        ]  # fmt: skip
        return Batch(topic, tp.partition, start, end, records)
