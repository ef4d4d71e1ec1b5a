"""Topics that every worker reads whole: reference data from the beginning, prices from a look-back in time.

A plain consumer without a group, in a mode service. It first reads the reference topics to the ends they had at the start, then the
prices, then says so once and goes on for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import reaching
from services.adapters.ports import Clock, Refused
from services.contracts.records import Record

POLL_MS: Final = 100
PRICES: Final = "prices"


@dataclass(frozen=True)
class BroadcastSettings:
    """Physical topics with the names that the engine knows them by."""

    connection: KafkaConnection
    logical: Mapping[str, str]
    look_back_ms: int = 60_000
    fetch_max_wait_ms: int = 100


class BroadcastReader(Service):
    """Feeds `fold` with the records of one poll, reference records before prices; calls `on_ready` when all ends were reached."""

    def __init__(
        self,
        settings: BroadcastSettings,
        clock: Clock,
        fold: Callable[[Sequence[Record]], Awaitable[None]],
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._clock = clock
        self._fold = fold
        self._on_ready = on_ready
        self._consumer: AIOKafkaConsumer | None = None

    async def on_start(self) -> None:
        """Connect and look up the partitions.

        Raises:
            Unreachable: no broker answers.
            Refused: a topic does not exist.
        """
        self._consumer = AIOKafkaConsumer(
            **self._settings.connection.arguments(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=self._settings.fetch_max_wait_ms,
        )
        async with reaching(self._settings.connection):
            await self._consumer.start()

    async def on_stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    def lag(self) -> dict[str, int]:
        """Records not read yet, by topic, as of the broker's last word; nothing before it is connected."""
        if self._consumer is None:
            return {}  # the probes answer before anything else has started
        found: dict[str, int] = {}
        for tp in self._consumer.assignment():
            end = self._consumer.highwater(tp) or 0
            name = self._settings.logical[tp.topic]
            found[name] = found.get(name, 0) + max(0, end - self._position(tp))
        return found

    def _position(self, tp: TopicPartition) -> int:
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else 0

    def _state(self, tp: TopicPartition) -> Any:
        assert self._consumer is not None
        assignment = self._consumer._subscription.subscription.assignment
        return assignment.state_value(tp) if assignment is not None else None

    @Service.task
    async def _read(self) -> None:
        references, prices = await self._partitions()
        await self._read_to_end(references, await self._begin(references))
        starts = await self._begin(references, continuing=True) | await self._look_back(prices)
        await self._read_to_end([*references, *prices], starts)
        self._on_ready()
        while not self.should_stop:
            await self._poll()

    async def _partitions(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Every partition of the reference topics, and of the prices."""
        assert self._consumer is not None
        found: list[TopicPartition] = []
        for physical in self._settings.logical:
            partitions = await self._partitions_of(physical)
            found += [TopicPartition(physical, partition) for partition in sorted(partitions)]
        is_price = {tp: self._settings.logical[tp.topic] == PRICES for tp in found}
        return [tp for tp in found if not is_price[tp]], [tp for tp in found if is_price[tp]]

    async def _partitions_of(self, physical: str) -> set[int]:
        assert self._consumer is not None
        self._consumer._client.add_topic(physical)
        await self._consumer._client.force_metadata_update()
        partitions = self._consumer.partitions_for_topic(physical)
        if not partitions:
            raise Refused(f"topic {physical} does not exist: run `ringfence topics create`")
        return set(partitions)

    async def _begin(self, tps: Sequence[TopicPartition], *, continuing: bool = False) -> dict[TopicPartition, int]:
        """Where to start: the log's beginning, or where reading stopped."""
        assert self._consumer is not None
        if continuing:
            return {tp: self._position(tp) for tp in tps}
        return dict(await self._consumer.beginning_offsets(list(tps)))

    async def _look_back(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first record that is not older than the look-back (the first of all if that is negative), else the end."""
        assert self._consumer is not None
        if self._settings.look_back_ms < 0:
            return await self._begin(tps)
        since = self._clock.now_ms() - self._settings.look_back_ms
        found = await self._consumer.offsets_for_times(dict.fromkeys(tps, since))
        ends = await self._consumer.end_offsets(list(tps))
        return {tp: found[tp].offset if found.get(tp) is not None else ends[tp] for tp in tps}

    async def _read_to_end(self, tps: Sequence[TopicPartition], starts: Mapping[TopicPartition, int]) -> None:
        """Assign `tps`, and read them from `starts` to the ends that they have now."""
        assert self._consumer is not None
        self._consumer.assign(list(tps))
        for tp, start in starts.items():
            self._consumer.seek(tp, start)
        ends = await self._consumer.end_offsets(list(tps))
        while not self.should_stop and any(self._position(tp) < ends[tp] for tp in tps):
            await self._poll()

    async def _poll(self) -> None:
        assert self._consumer is not None
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
        if not fetched:
            return
        names = self._settings.logical
        batches = sorted(fetched.items(), key=lambda item: (names[item[0].topic] == PRICES, item[0]))
        await self._fold([
            Record(
                topic=names[tp.topic], partition=tp.partition, offset=r.offset, timestamp_ms=r.timestamp, key=r.key,
                value=r.value or b"",
            )
            for tp, records in batches
            for r in records
        ])  # fmt: skip
