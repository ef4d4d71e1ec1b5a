"""Where a shard starts from, and which snapshots are whole."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import AsyncMock

import pytest

from services.adapters.ports import LogRange, Refused, Stored
from services.contracts.records import Record
from services.liquidator.recovery import Slot, choose_start, encode_snapshot, newest_snapshot
from services.liquidator.shard import ORDERS
from tests.unit.liquidator.fakes import World

NOTHING = Stored(epoch=-1, claim=-1, offsets=None, rows=(), settings="")
WHOLE = {"fills": LogRange(0, 100), ORDERS: LogRange(0, 50)}
CUT = {"fills": LogRange(60, 100), ORDERS: LogRange(0, 50)}


def stored(at: int, epoch: int = 5) -> Stored:
    rows = [("a|main", b"row of a %d" % at), ("a|", b"a"), ("b|main", b"row of b %d" % at)]
    return Stored(epoch=epoch, claim=epoch, offsets={"fills": at, ORDERS: 20}, rows=rows, settings="s")


def log_of(*snapshots: tuple[Slot, str, Stored], compacted: bool = True) -> list[Record]:
    pairs = [pair for slot, number, held in snapshots for pair in encode_snapshot(slot, number, held)]
    records = [
        Record(topic="snapshots", partition=0, offset=offset, timestamp_ms=0, key=key, value=value)
        for offset, (key, value) in enumerate(pairs)
    ]
    newest = {record.key: record.offset for record in records}
    return [record for record in records if not compacted or newest[record.key] == record.offset]


@pytest.mark.parametrize("compacted", [True, False])
def test_the_newest_snapshot_is_found(compacted: bool) -> None:
    found = newest_snapshot(
        log_of(("a", "1", stored(10)), ("b", "2", stored(20)), ("a", "3", stored(30)), compacted=compacted)
    )
    assert found is not None
    assert (found[0], found[1].offsets, sorted(found[1].rows)) == (
        "a",
        {"fills": 30, ORDERS: 20},
        sorted(stored(30).rows),
    )


@pytest.mark.parametrize("length", range(5))
def test_a_snapshot_is_whole_or_not_there(length: int) -> None:
    """Written to anywhere, over the slot of the one before the last: the last one stands."""
    records = log_of(("a", "1", stored(10)), ("b", "2", stored(20)), ("a", "3", stored(30)), compacted=False)
    found = newest_snapshot(records[: 8 + length])
    assert found is not None
    assert found[1].offsets == {"fills": 30 if length == 4 else 20, ORDERS: 20}


def test_a_copy_of_a_table_that_lost_writes_is_not_the_newest() -> None:
    found = newest_snapshot(log_of(("a", "1", stored(10)), ("b", "2", stored(20)), ("a", "3", stored(15))))
    assert found is not None
    assert found[1].offsets == {"fills": 20, ORDERS: 20}


def test_a_row_that_was_changed_makes_its_snapshot_none() -> None:
    records = log_of(("a", "1", stored(10)))
    other = log_of(("a", "1", stored(11)))
    assert newest_snapshot([other[0], *records[1:]]) is None


def test_bytes_that_are_none_of_ours_are_left_alone() -> None:
    noise = Record(topic="snapshots", partition=0, offset=99, timestamp_ms=0, key=b"\xff", value=b"{}")
    found = newest_snapshot([*log_of(("a", "1", stored(10))), noise])
    assert found is not None


def test_the_table_comes_first_then_the_snapshot_then_the_beginning() -> None:
    def start(table: Stored, snapshot: Stored | None, ranges: dict[str, LogRange]) -> tuple[Stored, dict[str, int]]:
        return choose_start(0, table, snapshot, ranges, from_cut_topics=False)

    assert start(stored(70), stored(80), CUT) == (stored(70), {"fills": 70, ORDERS: 20})
    assert start(stored(10), stored(80), CUT) == (stored(80), {"fills": 80, ORDERS: 20})
    assert start(NOTHING, stored(80), CUT) == (stored(80), {"fills": 80, ORDERS: 20})
    assert start(NOTHING, None, WHOLE) == (NOTHING, {"fills": 0, ORDERS: 0})


@pytest.mark.parametrize(
    ("table", "snapshot", "ranges", "why"),
    [
        (stored(10), stored(50), CUT, "gone"),
        (NOTHING, None, CUT, "never stored"),
        (stored(200), None, WHOLE, "truncated"),
        (stored(10, epoch=50), None, WHOLE, "truncated"),
    ],
)
def test_what_cannot_be_known_is_refused(
    table: Stored, snapshot: Stored | None, ranges: dict[str, LogRange], why: str
) -> None:
    with pytest.raises(Refused, match=why):
        choose_start(0, table, snapshot, ranges, from_cut_topics=False)


class Snapshots:
    """A topic of snapshots in memory."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, bytes]] = []

    async def read(self, partition: int) -> list[Record]:
        newest = dict(self.written)
        return [
            Record(topic="snapshots", partition=partition, offset=offset, timestamp_ms=0, key=key, value=value)
            for offset, (key, value) in enumerate(newest.items())
        ]

    async def write(self, partition: int, records: Iterator[tuple[bytes, bytes]]) -> None:  # noqa: ARG002  # the port's
        self.written += records


async def test_after_another_owner_its_snapshot_is_not_written_over() -> None:
    """We wrote slot a; another owner wrote b. Given the shard again, a lost write of ours must leave the newest, b, whole."""
    world = await World().start(0)
    log = Snapshots()
    recovery = world.worker._recovery
    await recovery._write(log, 0)
    assert log.written == [], "what was never stored has no snapshot"
    world.table.load = AsyncMock(return_value=stored(10))  # type: ignore[method-assign]  # the table's content of the test
    await recovery._write(log, 0)
    log.written += encode_snapshot("b", "theirs", stored(20))
    world.worker.assigned(frozenset({0}))
    world.table.load = AsyncMock(return_value=stored(30))  # type: ignore[method-assign]  # as above
    await recovery._write(log, 0)
    assert [key[:2] for key, _ in log.written[-4:]] == [b"a/"] * 4
    await world.die()
