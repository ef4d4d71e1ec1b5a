"""Topics into a recording folder: live until told to stop, or up to an end. Reads by assignment, never as a group's member."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from services.adapters.clock import SystemClock
from services.adapters.ports import Clock, Unreachable
from services.adapters.recordings_manifest import RecordedFile
from services.adapters.recordings_rows import Row, Stream
from services.adapters.recordings_writer import SPILL_BYTES, FolderWriter

POLL_MS: Final = 200
STALLED_S: Final = 60.0


class Limits(Struct, frozen=True, kw_only=True):
    """When a file is closed and the next one begun: at this size (about, as it is on disk), or this long after its first record."""

    max_file_bytes: int = 64 * 1024 * 1024
    max_file_s: float = 900.0


class Progress(Struct, frozen=True, kw_only=True):
    """What was done so far. `behind`: offsets between here and the ends of the partitions, None while nobody told."""

    records: int
    held: int  # of them not in a file yet
    behind: int | None


class Reader(Protocol):
    """What the recorder needs of the brokers: `kafka_range.RangeReader`."""

    async def know(self, topics: Iterable[str]) -> None: ...
    def assign(self, starts: Mapping[Stream, int]) -> None: ...
    async def poll(self, *, timeout_ms: int) -> dict[Stream, list[Row]]: ...
    async def position(self, stream: Stream) -> int: ...
    async def at_time(self, streams: Sequence[Stream], time_ms: int) -> dict[Stream, int]: ...
    def behind(self, streams: Iterable[Stream]) -> int | None: ...
    def pause(self, stream: Stream) -> None: ...


class Recorder:
    """Records the streams of `writer`, from its positions on.

    `until_ms` None: until stopped. Else up to the offsets that this time stands for: at once if it is past, when it comes if not.
    """

    def __init__(
        self, reader: Reader, writer: FolderWriter, *, limits: Limits, until_ms: int | None = None,
        ends: Mapping[Stream, int] | None = None, on_file: Callable[[RecordedFile], object],
        on_progress: Callable[[Progress], object] = lambda _: None, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._until_ms = until_ms
        self._ends = ends
        self._on_file = on_file
        self._on_progress = on_progress
        self._clock = clock or SystemClock()
        self._records = self._held = 0
        self._began: float | None = None  # when the first record of the file came
        self._heard = 0.0

    async def run(self, stop: asyncio.Event) -> bool:
        """Record until `stop`, or to the end; what was read is in files then. Whether the end was reached.

        Raises:
            Unreachable: the brokers give nothing, though there is an end to reach.
            Refused: the log no longer holds what is next.
        """
        streams = list(self._writer.positions)
        await self._reader.know({topic for topic, _ in streams})
        self._reader.assign(self._writer.positions)
        self._heard = self._clock.monotonic()
        left = set(streams)
        try:
            while left and not stop.is_set():
                await self._take()
                await self._find_ends(streams)
                if self._ends is not None:
                    left = await self._unreached(left, self._ends)
        finally:
            await self._commit()
        return not left

    async def _take(self) -> None:
        """What one poll brings, and a new file if the one begun is full or old."""
        fetched = await self._reader.poll(timeout_ms=POLL_MS)
        for stream, rows in fetched.items():
            end = None if self._ends is None else self._ends[stream]
            wanted = rows if end is None else [row for row in rows if row.offset < end]
            self._writer.add(stream, wanted)
            self._records += len(wanted)
            self._held += len(wanted)
        if fetched:
            self._heard = self._clock.monotonic()
            self._on_progress(Progress(
                records=self._records, held=self._held, behind=self._reader.behind(self._writer.positions)
            ))  # fmt: skip
        if self._began is None and not self._writer.is_empty:
            self._began = self._clock.monotonic()
        if self._writer.held_bytes >= min(SPILL_BYTES, self._limits.max_file_bytes):
            await asyncio.to_thread(self._writer.spill)
        old = self._began is not None and self._clock.monotonic() - self._began >= self._limits.max_file_s
        if old or self._writer.file_bytes >= self._limits.max_file_bytes:
            await self._commit()

    async def _commit(self) -> None:
        file = await _finished(asyncio.to_thread(self._writer.commit))
        self._began = None
        if file is not None:
            self._held = 0
            self._on_file(file)

    async def _find_ends(self, streams: list[Stream]) -> None:
        """Once the time to record to has come: which offsets it stands for."""
        if self._ends is None and self._until_ms is not None and self._clock.now_ms() >= self._until_ms:
            found = await self._reader.at_time(streams, self._until_ms)
            self._ends = {stream: max(found[stream], self._writer.positions[stream]) for stream in streams}

    async def _unreached(self, left: set[Stream], ends: Mapping[Stream, int]) -> set[Stream]:
        found = set()
        for stream in left:
            if await self._reader.position(stream) >= ends[stream]:
                self._reader.pause(stream)
            else:
                found.add(stream)
        if found and self._clock.monotonic() - self._heard > STALLED_S:
            topic, partition = min(found)
            raise Unreachable(
                f"{topic}[{partition}] gave nothing for {STALLED_S:g} s before offset {ends[topic, partition]}: "
                "the brokers do not answer, or a transaction is open there"
            )
        return found


async def _finished(work: Any) -> Any:
    """The result of work that must not be left half done, also where the waiting is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
