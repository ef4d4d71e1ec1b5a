"""Where a shard starts from: the table, a snapshot, or the beginning of its topics; and the writing of snapshots.

A snapshot is a copy of what the table holds, verified on the way, in the compacted topic `snapshots`: one record a row, then one that
says what they are the fold of, how many they are and what their digest is. Two *slots* take turns, so that a half-written snapshot
leaves the one before it whole; compaction keeps both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from services.adapters.ports import (
    Clock,
    Corrupt,
    Logger,
    LogRange,
    Meter,
    Refused,
    SnapshotLog,
    Stored,
    Table,
    Unreachable,
)
from services.contracts.journal import rows_digest
from services.contracts.records import Record
from services.liquidator.shard import ORDERS, Shard

Slot = Literal["a", "b"]
NOT_OF_THE_LEDGER: Final = frozenset({"account-statements"})  # compared, never folded: an old one says nothing


class Row(Struct, frozen=True, array_like=True, tag="row"):
    """One row of the snapshot `number`."""

    number: str
    row: bytes


class Mark(Struct, frozen=True, array_like=True, tag="mark"):
    """The end of a snapshot, and what it is."""

    number: str
    epoch: int
    claim: int
    offsets: dict[str, int]
    rows: int
    digest: str
    settings: str


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Row | Mark)


def encode_snapshot(slot: Slot, number: str, stored: Stored) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the records of a snapshot, its mark last."""
    assert stored.offsets is not None, "what was never stored has no snapshot"
    for field, row in stored.rows:
        yield f"{slot}/{field}".encode(), _encoder.encode(Row(number, row))
    digest = rows_digest(stored.rows)
    mark = Mark(number, stored.epoch, stored.claim, dict(stored.offsets), len(stored.rows), digest, stored.settings)
    yield f"{slot}/".encode(), _encoder.encode(mark)


def newest_snapshot(records: Sequence[Record]) -> tuple[Slot, Stored] | None:
    """The whole snapshot that is furthest on among the records of a partition, and its slot."""
    rows: dict[Slot, dict[str, Row]] = {"a": {}, "b": {}}
    marks: dict[Slot, Mark] = {}
    for record in records:
        name, _, field = (record.key or b"").decode(errors="replace").partition("/")
        slot: Slot = "b" if name == "b" else "a"
        try:
            content = _decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # not one of ours; a snapshot that misses it is not whole
        if isinstance(content, Mark):
            marks[slot] = content
        else:
            rows[slot][field] = content
    for slot, mark in sorted(marks.items(), key=lambda item: -_progress(item[1].offsets)):
        found = [(field, row.row) for field, row in rows[slot].items() if row.number == mark.number]
        if len(found) == mark.rows and rows_digest(found) == mark.digest:
            return slot, Stored(mark.epoch, mark.claim, mark.offsets, found, mark.settings)
    return None


def _progress(offsets: Mapping[str, int]) -> int:
    """Vectors of one shard grow in all topics: their sums order them."""
    return sum(offsets.values())


class Recovery:
    """Finds where a shard starts, and writes the snapshots that it may have to start from. Without a log of snapshots
    (None) none are written or read."""

    def __init__(
        self, table: Table, log: SnapshotLog | None, *, interval_s: float, clock: Clock, meter: Meter, logger: Logger
    ) -> None:  # fmt: skip
        self._table = table
        self._snapshots = log
        self._interval_s = interval_s
        self._clock = clock
        self._meter = meter
        self._log = logger
        self._newest: dict[
            int, tuple[Slot, int]
        ] = {}  # partition -> slot and progress of the snapshot that is furthest on
        self._written = 0

    # -- starting ------------------------------------------------------------------------------------------------------

    async def load(self, partition: int, *, is_ours: bool = True) -> Stored:
        """What the table holds; nothing, if that was damaged and is now put aside, which is for its owner to do.

        Raises:
            Unreachable: no answer.
            Refused: it cannot be verified, and must not be put aside.
        """
        try:
            return await self._table.load(partition)
        except Corrupt as error:
            if not is_ours:
                raise Unreachable(str(error)) from error
            self._meter.event("table_damaged")
            self._log.error("table_damaged", partition=partition, error=str(error))
            await self._table.put_aside(partition)
            return await self._table.load(partition)

    async def snapshot(self, partition: int) -> Stored | None:
        """The newest whole snapshot.

        Raises:
            Unreachable: no answer.
        """
        if self._snapshots is None:
            return None
        found = newest_snapshot(await self._snapshots.read(partition))
        return None if found is None else found[1]

    # -- writing -------------------------------------------------------------------------------------------------------

    async def keep(self, shard: Shard) -> None:
        """Write a snapshot again and again until cancelled; failing at it delays it and nothing else."""
        if self._snapshots is None:
            return
        while True:
            await self._clock.sleep(self._interval_s)
            if not shard.may_store or not shard.holds_claim:
                continue
            try:
                await self._write(self._snapshots, shard.partition)
            except Corrupt as error:
                # The memory is whole. Without the damaged rows the next store is refused, and the shard starts over.
                self._meter.event("table_damaged")
                self._log.error("table_damaged", partition=shard.partition, error=str(error))
                await self._put_aside(shard.partition)
            except (Unreachable, Refused) as error:
                self._meter.event("snapshot_failed")
                self._log.warning("snapshot_failed", partition=shard.partition, error=str(error))

    async def _put_aside(self, partition: int) -> None:
        try:
            await self._table.put_aside(partition)
        except (Unreachable, Refused) as error:
            self._log.warning("not_put_aside", partition=partition, error=str(error))

    async def _write(self, log: SnapshotLog, partition: int) -> None:
        stored = await self._table.load(partition)
        if stored.offsets is None:
            return
        if partition not in self._newest:
            found = newest_snapshot(await log.read(partition))
            self._newest[partition] = ("b", -1) if found is None else (found[0], _progress(found[1].offsets or {}))
        newest, progress = self._newest[partition]
        if _progress(stored.offsets) < progress:
            # A copy of a table that lost writes would take the place of what it can be healed from.
            self._log.warning("table_behind_snapshot", partition=partition, offsets=dict(stored.offsets))
            return
        slot: Slot = "a" if newest == "b" else "b"
        self._written += 1
        await log.write(
            partition, encode_snapshot(slot, f"{stored.epoch}.{self._clock.now_ms()}.{self._written}", stored)
        )
        self._newest[partition] = (slot, _progress(stored.offsets))
        self._meter.event("snapshot_written")
        self._log.info("snapshot_written", partition=partition, rows=len(stored.rows), offsets=dict(stored.offsets))

    def forget(self, partition: int) -> None:
        """Another owner may have written since."""
        self._newest.pop(partition, None)


def choose_start(
    partition: int, stored: Stored, snapshot: Stored | None, ranges: Mapping[str, LogRange], *, from_cut_topics: bool
) -> tuple[Stored, dict[str, int]]:
    """What to start from and where to read on: the table if the topics still hold what comes after it, else the snapshot, else
    their beginnings if they were never cut (or hold openings of all that was before).

    Raises:
        Refused: records that are needed are gone.
    """
    candidates = [each for each in (stored, snapshot) if each is not None and each.offsets is not None]
    whys: list[str] = []
    for candidate in candidates:
        assert candidate.offsets is not None
        offsets = {topic: candidate.offsets.get(topic, log.begin) for topic, log in ranges.items()}
        why = _why_not(partition, candidate.epoch, offsets, ranges)
        if why is None:
            return candidate, offsets
        whys.append(why)
    if whys:
        raise Refused(whys[0])
    cut = [topic for topic, log in ranges.items() if log.begin > 0 and topic not in NOT_OF_THE_LEDGER]
    if cut and not from_cut_topics:
        raise Refused(
            f"shard {partition} was never stored, there is no snapshot of it, and {', '.join(cut)} do not begin at their first record: "
            "its ledger cannot be known. Restore the table, the snapshots or the topics, or, if the topics hold openings of all accounts, "
            "set worker.from_cut_topics"
        )
    return stored, {topic: log.begin for topic, log in ranges.items()}


def _why_not(partition: int, epoch: int, offsets: Mapping[str, int], ranges: Mapping[str, LogRange]) -> str | None:
    for topic, at in offsets.items():
        log = ranges[topic]
        if at < log.begin:
            return (
                f"{topic}[{partition}] starts at {log.begin}, the table was stored at {at}: the records in between are gone. "
                "Restore the topic, or rebuild the shard from a snapshot"
            )
        if max(at, epoch + 1 if topic == ORDERS else 0) > log.end:
            return (
                f"{topic}[{partition}] ends at {log.end}, the table was stored at {at} under epoch {epoch}: the topic was truncated or "
                "replaced. Connect to the right cluster, or delete the shard's hashes to rebuild it"
            )
    return None
