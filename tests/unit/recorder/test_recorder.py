"""The recorder's own decisions, on topics and a clock made up: when files end, when it ends, and what it does when nothing comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from services.adapters.ports import Refused, Unreachable
from services.adapters.recordings import Recording
from services.adapters.recordings_manifest import read_manifest
from services.adapters.recordings_parquet import FileWriter
from services.adapters.recordings_rows import Row, Stream
from services.adapters.recordings_writer import open_folder
from services.recorder.recorder import Limits, Progress, Recorder
from tests.support.recordings import manifest_for, row

PRICES: Stream = ("prices", 0)
POLL_S = 10.0  # what each poll takes of the made-up time


class FakeClock:
    """Time that only polls let pass."""

    def __init__(self) -> None:
        self.s = 0.0

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def monotonic(self) -> float:
        return self.s

    def worked(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.s += seconds


class FakeReader:
    """Answers each poll with the next of `polls`, then nothing; `stop` is set after the last unless there is none."""

    def __init__(self, clock: FakeClock, polls: Iterable[Sequence[Row]], stop: asyncio.Event | None = None) -> None:
        self._clock, self._polls, self._stop = clock, deque(polls), stop
        self.positions: dict[Stream, int] = {}
        self.paused: list[Stream] = []

    async def know(self, topics: Iterable[str]) -> None:
        assert set(topics) == {"prices"}

    def assign(self, starts: Mapping[Stream, int]) -> None:
        self.positions = dict(starts)

    async def poll(self, *, timeout_ms: int) -> dict[Stream, list[Row]]:
        assert timeout_ms > 0, "no wait is endless"
        self._clock.s += POLL_S
        rows = list(self._polls.popleft()) if self._polls else []
        if not self._polls and self._stop is not None:
            self._stop.set()
        if rows:
            self.positions[PRICES] = rows[-1].offset + 1
        return {PRICES: rows} if rows else {}

    async def position(self, stream: Stream) -> int:
        return self.positions[stream]

    async def at_time(self, streams: Sequence[Stream], time_ms: int) -> dict[Stream, int]:
        assert time_ms <= self._clock.now_ms(), "the future has no offsets yet"
        return dict.fromkeys(streams, 3)

    def behind(self, streams: Iterable[Stream]) -> int | None:
        return len(list(streams)) - 1

    def pause(self, stream: Stream) -> None:
        self.paused.append(stream)


def one_a_poll(count: int) -> list[list[Row]]:
    return [[row("prices", number, number)] for number in range(count)]


class Run:
    """One run of a recorder over a folder."""

    def __init__(self, folder: Path, polls: Iterable[Sequence[Row]], *, stops: bool = True) -> None:
        self.clock, self.stop = FakeClock(), asyncio.Event()
        self.reader = FakeReader(self.clock, polls, self.stop if stops else None)
        self.folder = folder
        self.files: list[int] = []
        self.told: list[Progress] = []

    async def go(
        self, limits: Limits, *, until_ms: int | None = None, ends: Mapping[Stream, int] | None = None
    ) -> bool:
        with open_folder(self.folder, manifest_for([row("prices", 0)])) as writer:
            return await Recorder(
                self.reader, writer, limits=limits, until_ms=until_ms, ends=ends, clock=self.clock,
                on_file=lambda file: self.files.append(file.records), on_progress=self.told.append,
            ).run(self.stop)  # fmt: skip

    def leftovers(self) -> list[Path]:
        return list(self.folder.glob("*.tmp"))

    def recorded(self) -> list[int]:
        with Recording(str(self.folder)) as recording:
            return [each.offset for each in recording.rows()]


async def test_a_file_ends_some_time_after_its_first_record(tmp_path: Path) -> None:
    run = Run(tmp_path, [*one_a_poll(2), [], *([row("prices", n, n)] for n in range(2, 5))])
    assert await run.go(Limits(max_file_s=2 * POLL_S)) is False
    assert run.files == [2, 3]
    assert run.recorded() == [0, 1, 2, 3, 4]


async def test_a_file_ends_when_it_is_full(tmp_path: Path) -> None:
    run = Run(tmp_path, one_a_poll(3))
    await run.go(Limits(max_file_bytes=1))
    assert run.files == [1, 1, 1]
    assert [done.records for done in run.told] == [1, 2, 3]


async def test_the_end_is_an_offset(tmp_path: Path) -> None:
    """What comes beyond it in the same poll is left out, and the partition is fetched no more."""
    run = Run(tmp_path, [[row("prices", number, number) for number in range(5)]], stops=False)
    assert await run.go(Limits(), ends={PRICES: 4}) is True
    assert (run.recorded(), run.reader.paused) == ([0, 1, 2, 3], [PRICES])


async def test_an_end_in_the_future_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path, one_a_poll(9), stops=False)
    assert await run.go(Limits(), until_ms=int(5 * POLL_S * 1000)) is True
    assert run.recorded() == [0, 1, 2, 3, 4]


async def test_brokers_that_fall_silent_before_the_end_are_told_and_nothing_is_lost(tmp_path: Path) -> None:
    run = Run(tmp_path, one_a_poll(2), stops=False)
    with pytest.raises(Unreachable, match=r"prices\[0\] gave nothing for 60 s before offset 9"):
        await run.go(Limits(), ends={PRICES: 9})
    assert run.recorded() == [0, 1]


async def test_a_disk_that_is_full_keeps_what_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, one_a_poll(3), stops=False)
    write, full = FileWriter.write, OSError(28, "No space left on device")

    def failing(self: FileWriter, rows: Sequence[Row]) -> None:
        if rows[0].offset == 2:
            raise full
        write(self, rows)

    monkeypatch.setattr(FileWriter, "write", failing)
    with pytest.raises(
        Refused, match="cannot be written: No space left on device: nothing that was recorded before is lost"
    ):
        await run.go(Limits(max_file_bytes=1))
    assert run.recorded() == [0, 1]
    assert run.leftovers() == []
    assert read_manifest(tmp_path).positions() == {PRICES: 2}
    assert read_manifest(tmp_path).records == 2
