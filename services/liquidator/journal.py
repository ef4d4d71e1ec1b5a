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
    digest_text,
    encode_journal,
    row_hash,
)
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.basis import Basis
from services.engine.pieces import Piece, Pieces
from services.engine.settings import Settings
from services.liquidator.engine_port import EnginePort

MOST_INPUTS: Final = 500  # of one record: it stays far below the 64 KiB that a record may have
LONGEST_WAIT_S: Final = 0.05
ROWS_HASHED: Final = 1_000  # of a shard that is restored, in one piece


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

    # -- inputs: written down when they are begun ---------------------------------------------------------------------------

    def applying(self, records: Sequence[Record]) -> Pieces:
        """Which of the records are read is known piece by piece."""
        noted = 0

        def note(piece: Piece) -> None:
            nonlocal noted
            for (topic, partition), first, last in _stretches(records[noted : piece.records]):
                self._note_read(topic, partition, first, last)
            noted = piece.records

        return self._caused(self._engine.applying(records), note)

    def folding_prices(self, records: Sequence[Record]) -> Pieces:
        self._note(Latest([(partition, first, last) for (_, partition), first, last in _stretches(records)]))
        return self._caused(self._engine.folding_prices(records))

    def at_time(self, time_ms: int) -> Pieces:
        self._note(Timer(time_ms))
        return self._caused(self._engine.at_time(time_ms))

    def opening_gate(self, partition: int) -> Pieces:
        self._note(Gate(partition, open=True))
        return self._caused(self._engine.opening_gate(partition))

    def shut_gate(self, partition: int) -> None:
        self._note(Gate(partition, open=False))
        self._engine.shut_gate(partition)

    def restoring(self, partition: int, rows: Iterable[tuple[str, bytes]]) -> Pieces:
        held, total = list(rows), 0
        for number, (field, row) in enumerate(held, 1):
            total += row_hash(field, row)
            if not number % ROWS_HASHED:
                yield Piece([])
        self._note(Restored(partition, digest_text(total)))
        return (yield from self._engine.restoring(partition, held))

    def dropping(self, partition: int) -> Pieces:
        self._note(Dropped(partition))
        return self._engine.dropping(partition)

    def forgetting_unconfirmed(self, partition: int) -> Pieces:
        self._note(Unconfirmed(partition))
        return self._engine.forgetting_unconfirmed(partition)

    def deciding_again(self, places: Sequence[tuple[str, str, str]]) -> Pieces:
        self._note(Again(list(places)))
        self._flush(None)  # many places are long: they share no record
        return self._engine.deciding_again(places)

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

    def _caused(self, pieces: Pieces, note: Callable[[Piece], None] = lambda _: None) -> Pieces:
        """The pieces; what caused them is written before their effects are answered."""
        while True:
            try:
                piece, is_last = next(pieces), False
            except StopIteration as end:
                piece, is_last = end.value, True
            note(piece)
            if piece.effects:
                self._flush(None)
            if is_last:
                return piece
            yield piece

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
