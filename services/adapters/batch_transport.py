"""A Faust transport whose consumer hands over one message per (partition, poll), holding the whole batch of records.

Stock Faust takes each fetched batch apart and pays four tasks and a lock a record; this keeps it whole. Three more things differ
from stock: where to read from is told by the owner of the shards and never by the group's committed offsets; every batch says
which offsets it covers, so that a batch lost between here and the agent is seen; and when every partition is paused the consumer
waits for an event instead of sleeping for a second. Private names of faust and aiokafka are used: `verify_private_names`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiokafka
import faust
from aiokafka.consumer.fetcher import Fetcher as AIOKafkaFetcher
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import CorruptRecordException, IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as AIOTopicPartition
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

from services.adapters.assignor import ShardAssignor
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.ports import Batch, Feed, LogRange, Refused
from services.adapters.tracing import TRACEPARENT
from services.contracts.records import Record

POLL_S: Final = 0.1  # how long a fetched batch of a partition that was just resumed may stay unnoticed
Result = TypeVar("Result")

# What this module overrides or calls beyond the public interface, with the parameters it relies on.
PRIVATE_NAMES: Final[tuple[tuple[type, str, tuple[str, ...]], ...]] = (
    (FaustConsumer, "_drain_messages", ("self", "fetcher")),
    (FaustConsumer, "_wait_next_records", ("self", "timeout")),
    (FaustConsumer, "_getmany", ("self", "active_partitions", "timeout")),
    (FaustConsumer, "_get_active_partitions", ("self",)),
    (FaustConsumer, "perform_seek", ("self",)),
    (FaustConsumer, "on_buffer_drop", ("self", "tp")),
    (FaustConsumer, "resume_partitions", ("self", "tps")),
    (FaustConsumer, "pause_partitions", ("self", "tps")),
    (Consumer, "_new_consumer_thread", ("self",)),
    (AIOKafkaConsumerThread, "_create_worker_consumer", ("self", "transport")),
    (AIOKafkaConsumerThread, "_ensure_consumer", ("self",)),
    (AIOKafkaConsumerThread, "_fetch_records", ("self", "consumer", "active_partitions", "timeout", "max_records")),
    (Recovery, "_resume_streams", ("self", "generation_id")),
    (AIOKafkaFetcher, "fetched_records", ("self", "partitions", "timeout", "max_records")),
    (faust.App, "_create_directories", ("self",)),
)
STATE_PROPERTIES: Final = ("position", "has_valid_position")


def verify_private_names() -> None:
    """Check that faust and aiokafka are what this transport was written against.

    Raises:
        Refused: a name is gone or takes other parameters.
    """
    if wrong := foreign_names():
        raise Refused(
            f"faust {faust.__version__} and aiokafka {aiokafka.__version__} do not fit the batch transport: "
            f"{', '.join(wrong)}. Install the versions that the package pins."
        )


def foreign_names() -> list[str]:
    """The private names that are not there, or take other parameters than they did."""
    wrong = [
        f"{owner.__module__}.{owner.__qualname__}.{name}"
        for owner, name, parameters in PRIVATE_NAMES
        if tuple(inspect.signature(getattr(owner, name, lambda: None)).parameters) != parameters
    ]
    wrong += [f"TopicPartitionState.{name}" for name in STATE_PROPERTIES if not hasattr(TopicPartitionState, name)]
    return wrong


@dataclass(frozen=True)
class StreamSettings:
    """How the consumer group member behaves, and what its physical topics are called inside."""

    connection: KafkaConnection
    group: str
    logical: Mapping[str, str]  # physical topic -> topic as the engine knows it
    session_timeout_ms: int = 6_000
    heartbeat_interval_ms: int = 1_500
    rebalance_timeout_ms: int = 10_000
    fetch_max_wait_ms: int = 100
    max_partition_fetch_bytes: int = 1024 * 1024
    max_poll_records: int | None = None
    group_instance_id: str | None = None
    trace_context: bool = False  # keep the W3C trace context that account records carry


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What one poll brought of one partition. `round` counts the seeks, so that what was fetched before one is recognised."""

    round: int
    start: int
    end: int
    records: list[Any]


class BatchConsumerThread(AIOKafkaConsumerThread):
    """The thread that talks to the brokers. Positions and rounds are touched in this thread only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positions: dict[TP, int] = {}
        self.rounds: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        assert isinstance(transport, BatchTransport)
        settings = transport.settings
        self._assignor = ShardAssignor()
        return aiokafka.AIOKafkaConsumer(
            **settings.connection.arguments(),
            group_id=settings.group,
            group_instance_id=settings.group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position below the log's start must stop us, not move us
            isolation_level="read_committed",
            max_poll_records=settings.max_poll_records,
            max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
        )

    async def _fetch_records(  # type: ignore[override]  # only our consumer reads the result
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  # the overridden method's parameter
        max_records: int | None = None,
    ) -> dict[TP, _Fetched]:
        """Records of the started partitions with the offsets that they cover; also progress without a record."""
        records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        fetched: dict[TP, _Fetched] = {}
        for tp in active_partitions:
            start, end = self.positions.get(tp), self._position(consumer, tp)
            if start is not None and end is not None and end > start:
                fetched[tp] = _Fetched(self.rounds[tp], start, end, records.get(tp, []))
                self.positions[tp] = end
        return fetched

    async def start_from(self, offsets: Mapping[TP, int], rounds: Mapping[TP, int]) -> None:
        """Read on from these offsets; runs in this thread."""
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(AIOTopicPartition(*tp), offset)
            self.positions[tp] = offset
            self.rounds[tp] = rounds[tp]

    async def log_ranges(self, tps: list[TP]) -> dict[TP, LogRange]:
        """Asked of the brokers; runs in this thread."""
        consumer = self._ensure_consumer()
        wanted = [AIOTopicPartition(*tp) for tp in tps]
        begins, ends = await asyncio.gather(consumer.beginning_offsets(wanted), consumer.end_offsets(wanted))
        return {tp: LogRange(begins[tp], ends[tp]) for tp in tps}

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> None:
        """Show progress to the group; runs in this thread."""
        await self._ensure_consumer().commit(
            {AIOTopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        )

    def feed(self, tp: TP) -> Feed | None:
        """The broker's last word on a partition. Reads plain attributes, so any thread may ask."""
        state = self._state(self._ensure_consumer(), tp)
        if state is None or state.timestamp is None:
            return None
        end = state.lso if state.lso is not None and state.lso >= 0 else state.highwater
        return Feed(end, state.timestamp)

    @staticmethod
    def _state(consumer: aiokafka.AIOKafkaConsumer, tp: TP) -> Any:
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        return None if assignment is None else assignment.state_value(tp)  # a tuple, as aiokafka's own: equal to it

    def _position(self, consumer: aiokafka.AIOKafkaConsumer, tp: TP) -> int | None:
        state = self._state(consumer, tp)
        return state.position if state is not None and state.has_valid_position else None


class BatchConsumer(Consumer):
    """Hands over whole batches, of those partitions only that their owner started with `start_from`."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rounds: dict[TP, int] = {}  # counts the seeks of each partition
        self._may_fetch = asyncio.Event()
        self.on_ready: Callable[[frozenset[TP]], None] = lambda _: None

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def start_from(self, offsets: Mapping[TP, int]) -> None:
        """Deliver from these offsets on and nothing that was fetched before.

        Raises:
            IllegalStateError: a partition is not assigned (any more).
        """
        self._forget(offsets)
        rounds = {tp: self._rounds[tp] for tp in offsets}
        await self.in_thread(self._thread.start_from(offsets, rounds))
        self.resume_partitions(set(offsets))

    def _forget(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            self._rounds[tp] = self._rounds.get(tp, 0) + 1

    async def perform_seek(self) -> None:
        """Where stock seeks to committed offsets, after each rebalance: stop delivery until the owner says where to start."""
        assigned = frozenset(self.assignment())
        self._forget(assigned)
        self.pause_partitions(assigned)
        self.on_ready(assigned)

    async def in_thread(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the consumer's thread and wait for its result."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._thread.thread_loop))

    @property
    def thread(self) -> BatchConsumerThread:
        return self._thread

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._may_fetch.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self._may_fetch.set()

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109  # overrides stock
        """As stock, but while no partition may be read wait for one that may instead of sleeping for a second."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        active = set(self._get_active_partitions())
        if active:
            return await self._getmany(active_partitions=active, timeout=timeout), active
        self._may_fetch.clear()
        await self.wait_first(self._may_fetch.wait(), timeout=timeout)
        return {}, active

    async def _drain_messages(self, fetcher: Any) -> None:
        """The fetcher's loop: one message a partition and poll."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                await asyncio.sleep(0)
                await self._drain_once()
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise
        except (OffsetOutOfRangeError, NoOffsetForPartitionError, CorruptRecordException) as error:
            raise Refused(
                f"an account topic cannot be read on: {error!r}. The log was cut or damaged below what is not folded yet; "
                "restore the topic, or rebuild the shard from a snapshot."
            ) from error

    async def _drain_once(self) -> None:
        fetched, _ = await self._wait_next_records(POLL_S)
        generation = self.app.consumer_generation_id
        for tp, part in fetched.items():
            # After a rebalance, or while the flow is stopped, what is left here is read again from where its owner says.
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if part.round != self._rounds.get(tp):
                continue
            await self.wait_first(self.callback(self._message(tp, part, generation)), self.suspend_flow.wait())

    def _message(self, tp: TP, part: _Fetched, generation: int) -> ConsumerMessage:
        transport = self.transport
        assert isinstance(transport, BatchTransport)
        settings = transport.settings
        batch: Any = to_batch(settings.logical[tp.topic], tp.partition, part, with_traces=settings.trace_context)
        newest = part.records[-1].timestamp / 1000.0 if part.records else 0.0
        return ConsumerMessage(
            tp.topic, tp.partition, part.end - 1, newest, 1, [], None, batch, None, 0, len(part.records), tp,
            generation_id=generation,
        )  # fmt: skip


def to_batch(topic: str, partition: int, part: _Fetched, *, with_traces: bool = False) -> Batch:
    """The records of one poll, under the topic's own name."""
    records = [
        Record(
            topic=topic, partition=partition, offset=r.offset, timestamp_ms=r.timestamp, key=r.key, value=r.value or b""
        )
        for r in part.records
    ]
    if not with_traces:
        return Batch(topic, partition, part.start, part.end, records)
    found = {r.offset: value for r in part.records for name, value in r.headers or () if name == TRACEPARENT and value}
    return Batch(topic, partition, part.start, part.end, records, found)


class BatchTransport(Transport):
    """Stock transport with the batching consumer."""

    Consumer = BatchConsumer

    def __init__(self, settings: StreamSettings, app: faust.App) -> None:
        super().__init__([], app)
        self.settings = settings


__all__ = [
    "BatchConsumer",
    "BatchTransport",
    "IllegalStateError",
    "StreamSettings",
    "to_batch",
    "verify_private_names",
]
