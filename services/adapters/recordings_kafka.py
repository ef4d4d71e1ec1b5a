"""A recording that is still in Kafka: `kafka://host:port[,host:port…][/prefix]?from=…&to=…&topics=a,b`.

`from` (default earliest) and `to` (default now) are epoch milliseconds or times like 2025-10-10T21:15:00Z. Which offsets they
stand for is asked once, so that it can be read more than once; what arrives meanwhile is not part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from threading import Thread
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_range import EARLIEST, NOW, NoPlace, Place, RangeReader, parse_place, range_reader
from services.adapters.ports import Refused, Unreachable
from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_merge import merged
from services.adapters.recordings_rows import Row, Stream, record_of
from services.adapters.topic_admin import connected
from services.contracts.records import Record
from services.contracts.topics import SHADOW_TOPIC, TOPICS

POLL_MS: Final = 200
POLL_ROWS: Final = 2_000
FETCH_WAIT_MS: Final = 10  # a partition without news must not keep the others waiting
STALLED_S: Final = 30.0
CATALOGUE: Final = tuple(topic.name for topic in (*TOPICS, SHADOW_TOPIC))

Connect = Callable[[str], KafkaConnection]


def plain_connection(bootstrap: str) -> KafkaConnection:
    """Without credentials: what a URL alone can say."""
    return KafkaConnection(bootstrap=bootstrap, client_id="ringfence-recordings")


class KafkaUrl(Struct, frozen=True, kw_only=True):
    """What the URL says. `topics` empty: those of the catalogue that exist."""

    bootstrap: str
    prefix: str = ""
    start: Place = Place(word=EARLIEST)
    end: Place = Place(word=NOW)
    topics: tuple[str, ...] = ()


def parse_url(url: str) -> KafkaUrl:
    """Raises `RecordingError` on what is no such URL."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(given) - {"from", "to", "topics"})
    if not parts.netloc or unknown:
        raise RecordingError(
            f"{url}: {f'{unknown[0]} is not an option' if unknown else 'names no broker'}; "
            "expected kafka://HOST:PORT[/PREFIX][?from=TIME&to=TIME&topics=A,B]"
        )
    if "@" in parts.netloc:
        raise RecordingError(
            "a kafka:// URL must not hold a password: give --config, its [kafka] section holds credentials"
        )
    try:
        start = parse_place(given.get("from", EARLIEST), (EARLIEST,))
        end = parse_place(given.get("to", NOW), (NOW,))
    except NoPlace as error:
        raise RecordingError(f"{url}: {error}") from error
    topics = tuple(name for name in given.get("topics", "").split(",") if name)
    return KafkaUrl(bootstrap=parts.netloc, prefix=unquote(parts.path.strip("/")), start=start, end=end, topics=topics)


class KafkaRange:
    """The range that a URL names. Blocks its caller; the client lives on a loop of its own."""

    manifest = None

    def __init__(self, url: str, connect: Connect = plain_connection) -> None:
        self._url = parse_url(url)
        self._name = url
        self._connection = connect(self._url.bootstrap)
        self._ranges: dict[Stream, tuple[int, int]] | None = None

    def check(self) -> None:
        """Ask the brokers which offsets the range has.

        Raises:
            Unreachable: no broker answers.
            RecordingError: a topic that was named does not exist, or none does.
        """
        with _loop() as run:
            self._ranges = run(self._resolve())

    async def _resolve(self) -> dict[Stream, tuple[int, int]]:
        wanted = self._url.topics or CATALOGUE
        async with connected(self._connection) as admin:
            found = await admin.found([f"{self._url.prefix}{topic}" for topic in wanted])
        counts = {name.removeprefix(self._url.prefix): topic.partitions for name, topic in found.items()}
        missing = [topic for topic in self._url.topics if topic not in counts]
        if missing or not counts:
            what = (
                f"topic {self._url.prefix}{missing[0]}"
                if missing
                else f"no topic of ours under prefix {self._url.prefix!r}"
            )
            raise RecordingError(f"{self._name}: {what} exists{' not' if missing else ''}: check host and prefix")
        streams = [(topic, partition) for topic, count in counts.items() for partition in range(count)]
        async with range_reader(self._connection, self._url.prefix, fetch_max_wait_ms=FETCH_WAIT_MS) as reader:
            await reader.know(counts)
            starts, ends = (
                await reader.at_place(streams, self._url.start),
                await reader.at_place(streams, self._url.end),
            )
            begins = await reader.begins(streams)
        return {stream: (max(starts[stream], begins[stream]), ends[stream]) for stream in streams}

    @property
    def partitions(self) -> dict[str, int]:
        """Of the topics with offsets in the range."""
        ranges = self._checked()
        held = {topic for (topic, _), (start, end) in ranges.items() if start < end}
        return {topic: 1 + max(number for name, number in ranges if name == topic) for topic in held}

    def records(self) -> Iterator[Record]:
        """All records in the order of `recordings_merge`."""
        return map(record_of, self.rows())

    def rows(self) -> Iterator[Row]:
        """The same with headers and null values. Raises `Unreachable`, `RecordingError`."""
        ranges = {stream: (start, end) for stream, (start, end) in self._checked().items() if start < end}
        if not ranges:
            return
        with _loop() as run:
            stack = AsyncExitStack()
            opening = range_reader(self._connection, self._url.prefix, fetch_max_wait_ms=FETCH_WAIT_MS)
            reader = run(stack.enter_async_context(opening))
            try:
                run(_begin(reader, {stream: start for stream, (start, _) in ranges.items()}))
                yield from merged(
                    {stream: self._stream(run, reader, stream, end) for stream, (_, end) in ranges.items()}
                )
            finally:
                run(stack.aclose())

    def _stream(self, run: _Run, reader: RangeReader, stream: Stream, end: int) -> Iterator[Row]:
        heard = monotonic()
        while True:
            try:
                rows, position = run(_next(reader, stream))
            except Refused as error:
                raise RecordingError(f"{self._name}: {error}") from error
            yield from (row for row in rows if row.offset < end)
            if position >= end:
                run(_pause(reader, stream))
                return
            heard = monotonic() if rows else heard
            if monotonic() - heard > STALLED_S:
                raise Unreachable(
                    f"{stream[0]}[{stream[1]}] gave nothing for {STALLED_S:g} s at offset {position} of {end}: "
                    "the brokers do not answer, or a transaction is open there"
                )

    def _checked(self) -> dict[Stream, tuple[int, int]]:
        if self._ranges is None:
            self.check()
        assert self._ranges is not None
        return self._ranges


_Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def _begin(reader: RangeReader, starts: dict[Stream, int]) -> None:
    await reader.know({topic for topic, _ in starts})
    reader.assign(starts)


async def _next(reader: RangeReader, stream: Stream) -> tuple[list[Row], int]:
    found = await reader.poll(stream, timeout_ms=POLL_MS, max_rows=POLL_ROWS)
    return found.get(stream, []), await reader.position(stream)


async def _pause(reader: RangeReader, stream: Stream) -> None:
    reader.pause(stream)


@contextmanager
def _loop() -> Iterator[Any]:
    """A loop in a thread of its own, and the function that runs something on it and waits: works inside another loop too."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="recording-reader", daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
