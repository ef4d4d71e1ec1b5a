"""The engine with a journal: whatever goes in is written down before what comes out is carried out (contracts/journal.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from services.adapters.ports import Clock
from services.contracts.journal import (
    Again,
    Dropped,
    Gate,
    Input,
    JournalRecord,
    Latest,
    Read,
    Restored,
    Stored,
    Timer,
    Unconfirmed,
    encode_journal,
    rows_digest,
)
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.basis import Basis
from services.engine.effects import Effect
from services.engine.settings import Settings
from services.liquidator.engine_port import EnginePort

MOST_INPUTS: Final = 500  # of one record: it stays far below the 64 KiB that a record may have
LONGEST_WAIT_S: Final = 0.05


class JournalledEngine:
    """An `EnginePort` around another one.

    `write(shard, value)` appends a record; a `shard` is named where the store of that shard must wait until the record is safe.
    A record is written before the effects that its inputs caused are answered, before rows are handed out, and else at the first
    input after 50 ms.
    """

    def __init__(
        self, engine: EnginePort, session: str, settings: Settings, clock: Clock, write: Callable[[int | None, bytes], None]
    ) -> None:  # fmt: skip
        self._engine = engine
        self._session = session
        self._settings: Any = msgspec.to_builtins(settings)
        self._clock = clock
        self._write = write
        self._number = 0
        self._inputs: list[Input] = []
        self._since = clock.monotonic()

    # -- inputs: written down, then handed on ---------------------------------------------------------------------------

    def apply(self, record: Record) -> list[Effect]:
        return self.apply_batch([record])

    def apply_batch(self, records: Sequence[Record]) -> list[Effect]:
        for (topic, partition), first, last in _stretches(records):
            self._note_read(topic, partition, first, last)
        return self._caused(self._engine.apply_batch(records))

    def fold_prices(self, records: Sequence[Record]) -> list[Effect]:
        self._note(Latest([(partition, first, last) for (_, partition), first, last in _stretches(records)]))
        return self._caused(self._engine.fold_prices(records))

    def timer(self, time_ms: int) -> list[Effect]:
        self._note(Timer(time_ms))
        return self._caused(self._engine.timer(time_ms))

    def open_gate(self, partition: int) -> list[Effect]:
        self._note(Gate(partition, open=True))
        return self._caused(self._engine.open_gate(partition))

    def shut_gate(self, partition: int) -> None:
        self._note(Gate(partition, open=False))
        self._engine.shut_gate(partition)

    def restore(self, partition: int, rows: Iterable[tuple[str, bytes]]) -> None:
        held = list(rows)
        self._note(Restored(partition, rows_digest(held)))
        self._engine.restore(partition, held)

    def drop(self, partition: int) -> None:
        self._note(Dropped(partition))
        self._engine.drop(partition)

    def forget_unconfirmed(self, partition: int) -> None:
        self._note(Unconfirmed(partition))
        self._engine.forget_unconfirmed(partition)

    def decide_again(self, places: Sequence[tuple[str, str, str]]) -> list[Effect]:
        self._note(Again(list(places)))
        self._flush(None)  # many places are long: they share no record
        return self._engine.decide_again(places)

    def basis(self, order: Order) -> Basis | None:
        return self._engine.basis(order)

    def overlooked(self, accounts: int) -> list[tuple[int, str, str]]:
        return self._engine.overlooked(accounts)

    def notional(self, order: Order) -> int:
        return self._engine.notional(order)

    def take_dirty(self, partition: int) -> dict[str, bytes | None]:
        self._inputs.append(
            Stored(partition)
        )  # not by `_note`, which may write it without the shard that has to wait for it
        self._flush(partition)
        return self._engine.take_dirty(partition)

    def forget_dirty(self, partition: int) -> None:
        self._engine.forget_dirty(partition)  # no input: whoever reads the journal keeps all rows

    def differing(self, partition: int, stored: dict[str, bytes]) -> Iterator[dict[str, bytes | None]]:
        return self._engine.differing(partition, stored)

    def dirty_count(self, partition: int) -> int:
        return self._engine.dirty_count(partition)

    # -- the journal ----------------------------------------------------------------------------------------------------

    def _note_read(self, topic: str, partition: int, first: int, last: int) -> None:
        """A stretch that goes on where the one before it ended is the same stretch."""
        before = self._inputs[-1] if self._inputs else None
        if isinstance(before, Read) and (before.topic, before.partition, before.last + 1) == (topic, partition, first):
            self._inputs[-1] = Read(topic, partition, before.first, last)
        else:
            self._note(Read(topic, partition, first, last))

    def _note(self, entry: Input) -> None:
        self._inputs.append(entry)
        if len(self._inputs) >= MOST_INPUTS or self._clock.monotonic() - self._since >= LONGEST_WAIT_S:
            self._flush(None)

    def _caused(self, effects: list[Effect]) -> list[Effect]:
        if effects:
            self._flush(None)
        return effects

    def _flush(self, shard: int | None) -> None:
        self._since = self._clock.monotonic()
        if not self._inputs:
            return
        record = JournalRecord(
            session=self._session, number=self._number, ts_ms=self._clock.now_ms(), inputs=self._inputs,
            settings=self._settings if self._number == 0 else None,
        )  # fmt: skip
        self._number += 1
        self._inputs = []
        self._write(shard, encode_journal(record))


def _stretches(records: Sequence[Record]) -> Iterator[tuple[tuple[str, int], int, int]]:
    """Topic and partition, first and last offset of each run of records of one partition."""
    for place, run in groupby(records, key=lambda record: (record.topic, record.partition)):
        offsets = [record.offset for record in run]
        yield place, offsets[0], offsets[-1]
