"""Ranges of topics read without a consumer group: nothing is committed, nobody is rebalanced, no worker notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from msgspec import Struct

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import Answer, answered, reaching
from services.adapters.ports import Refused, Unreachable
from services.adapters.recordings_rows import Row, Stream

FETCH_BYTES: Final = 256 * 1024  # a partition: what a reader holds of hundreds of them at once
EARLIEST: Final = "earliest"
LATEST: Final = "latest"
NOW: Final = "now"


class Place(Struct, frozen=True):
    """Where a reading begins or ends: one of the words, a time (epoch ms), or an offset for each partition."""

    word: str | None = None
    time_ms: int | None = None
    offsets: dict[str, dict[int, int]] | None = None


class NoPlace(ValueError):
    """The text names no place in a topic."""


def parse_place(text: str, words: Sequence[str]) -> Place:
    """One of `words`, epoch milliseconds, or ISO 8601 (without a zone: UTC). Raises `NoPlace`."""
    if text in words:
        return Place(word=text)
    if text.isdecimal():
        return Place(time_ms=int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NoPlace(
            f"{text!r}: expected {', '.join(words)}, epoch milliseconds or a time like 2025-10-10T21:15:00Z"
        ) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return Place(time_ms=round(moment.timestamp() * 1000))


class RangeReader:
    """Reads partitions of `prefix` + topic; streams are named without the prefix. Get one from `range_reader`."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str, timeout_s: float) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._timeout_s = timeout_s

    async def know(self, topics: Iterable[str]) -> None:
        """Learn who leads the partitions of `topics`, before anything is asked of them."""
        for topic in topics:
            self._consumer._client.add_topic(f"{self._prefix}{topic}")
        await self._bounded(self._consumer._client.force_metadata_update())

    async def begins(self, streams: Iterable[Stream]) -> dict[Stream, int]:
        """The first offset that the log still holds."""
        return self._named(await self._bounded(self._consumer.beginning_offsets(self._places(streams))))

    async def ends(self, streams: Iterable[Stream]) -> dict[Stream, int]:
        """The offset that the next record will get."""
        return self._named(await self._bounded(self._consumer.end_offsets(self._places(streams))))

    async def at_time(self, streams: Sequence[Stream], time_ms: int) -> dict[Stream, int]:
        """The first record that is not older, else the end."""
        asked = dict.fromkeys(self._places(streams), time_ms)
        found = self._named(await self._bounded(self._consumer.offsets_for_times(asked)))
        ends = await self.ends(streams)
        return {stream: ends[stream] if found.get(stream) is None else found[stream].offset for stream in streams}

    async def at_place(self, streams: Sequence[Stream], place: Place) -> dict[Stream, int]:
        """The offsets that a place stands for now. Raises `Refused` if the log does not hold them."""
        if place.time_ms is not None:
            return await self.at_time(streams, place.time_ms)
        if place.offsets is None:
            return await (self.begins(streams) if place.word == EARLIEST else self.ends(streams))
        found: dict[Stream, int] = {}
        begins, ends = await self.begins(streams), await self.ends(streams)
        for stream in streams:
            at = place.offsets.get(stream[0], {}).get(stream[1])
            if at is None:
                raise Refused(f"the offsets given say nothing of {stream[0]}[{stream[1]}]")
            if not begins[stream] <= at <= ends[stream]:
                raise Refused(
                    f"{stream[0]}[{stream[1]}]: offset {at} is not in the log, which holds {begins[stream]} to {ends[stream]}"
                )
            found[stream] = at
        return found

    def assign(self, starts: Mapping[Stream, int]) -> None:
        """Read these partitions from these offsets on."""
        self._consumer.assign(self._places(starts))
        for stream, start in starts.items():
            self._consumer.seek(self._place(stream), start)

    async def poll(self, *streams: Stream, timeout_ms: int, max_rows: int | None = None) -> dict[Stream, list[Row]]:
        """What has arrived, of `streams` or of all. Raises `Refused` where the log no longer holds what is next."""
        try:
            fetched = await self._consumer.getmany(
                *(self._place(stream) for stream in streams), timeout_ms=timeout_ms, max_records=max_rows
            )
        except OffsetOutOfRangeError as error:
            places = ", ".join(f"{tp.topic}[{tp.partition}] at {offset}" for tp, offset in error.args[0].items())
            raise Refused(
                f"the log no longer holds what is next: {places}; raise the retention of the topic, and begin a new recording"
            ) from error
        except KafkaError as error:
            raise Unreachable(f"Kafka cannot be read: {error!r}") from error
        return {self._stream(place): [self._row(record) for record in records] for place, records in fetched.items()}

    async def position(self, stream: Stream) -> int:
        """The offset to read on from, past whatever carries no record."""
        at: int = await self._bounded(self._consumer.position(self._place(stream)))
        return at

    def behind(self, streams: Iterable[Stream]) -> int | None:
        """How many offsets the brokers hold beyond what was read, as of their last word; None before the first."""
        assignment = self._consumer._subscription.subscription.assignment
        total = 0
        for place in self._places(streams):
            end, state = self._consumer.highwater(place), assignment.state_value(place)
            if end is None or not state.has_valid_position:
                return None
            total += max(0, end - state.position)
        return total

    def pause(self, stream: Stream) -> None:
        """Fetch nothing more of it."""
        self._consumer.pause(self._place(stream))

    def _row(self, record: Any) -> Row:
        return Row(
            topic=record.topic.removeprefix(self._prefix), partition=record.partition, offset=record.offset,
            timestamp_ms=record.timestamp, key=record.key, value=record.value, headers=record.headers,
        )  # fmt: skip

    def _place(self, stream: Stream) -> TopicPartition:
        return TopicPartition(f"{self._prefix}{stream[0]}", stream[1])

    def _places(self, streams: Iterable[Stream]) -> list[TopicPartition]:
        return [self._place(stream) for stream in streams]

    def _stream(self, place: TopicPartition) -> Stream:
        return place.topic.removeprefix(self._prefix), place.partition

    def _named(self, found: Mapping[TopicPartition, Any]) -> dict[Stream, Any]:
        return {self._stream(place): value for place, value in found.items()}

    async def _bounded(self, request: Awaitable[Answer]) -> Answer:
        return await answered(request, self._timeout_s)


@asynccontextmanager
async def range_reader(
    connection: KafkaConnection, prefix: str, *, fetch_max_wait_ms: int
) -> AsyncIterator[RangeReader]:
    """A reader for the time of the block. Sees what committed transactions wrote, as the worker does. Raises `Unreachable`."""
    consumer = AIOKafkaConsumer(
        **connection.arguments(), enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_committed",
        fetch_max_wait_ms=fetch_max_wait_ms, max_partition_fetch_bytes=FETCH_BYTES,
    )  # fmt: skip
    try:
        async with reaching(connection):
            await consumer.start()
        yield RangeReader(consumer, prefix, connection.request_timeout_ms / 1000)
    finally:
        await consumer.stop()
