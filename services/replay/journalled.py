"""What the workers did, computed again from what they read (contracts/journal.py): the same effects, byte for byte.

Each session runs in an engine of its own. Where it restored a shard, it gets the rows that another session (or an earlier part of
itself) had stored: sessions wait for each other there, and only there, so that nothing depends on whose clock was right.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from services.contracts.codec import encode
from services.contracts.journal import (
    ORDERS,
    Again,
    Dropped,
    Gate,
    JournalRecord,
    Latest,
    Read,
    Restored,
    Stored,
    Timer,
    Unconfirmed,
    decode_journal,
    digest_text,
    known_claim,
    row_hash,
)
from services.contracts.messages import Claim
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS
from services.engine.effects import Effect, Emit
from services.engine.engine import Engine
from services.engine.portfolio.preset import Preset
from services.engine.settings import Settings

OUTPUTS: Final = frozenset({ORDERS, "account-states", "defaults"})
Rows = dict[str, bytes]
Place = tuple[str, int]  # topic, partition


class JournalError(Exception):
    """The journal and the records beside it do not fit; the text says what is missing."""


class Log:
    """Records by topic, partition and offset."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records: dict[Place, dict[int, Record]] = defaultdict(dict)
        for record in records:
            self._records[record.topic, record.partition][record.offset] = record

    def stretch(self, topic: str, partition: int, first: int, last: int) -> list[Record]:
        """The records from `first` to `last`; offsets in between may carry none, the ends must.

        Raises:
            JournalError: an end is not there.
        """
        held = self._records[topic, partition]
        if first == last and topic == ORDERS and first not in held:
            return [known_claim(partition, first)]  # a claim older than the recording: its place says it all
        if first not in held or last not in held:
            raise JournalError(f"the recording lacks {topic}[{partition}] {first} to {last}, which a worker read")
        return [held[offset] for offset in range(first, last + 1) if offset in held]

    def outputs(self) -> Iterator[Record]:
        """What the workers wrote, claims aside, in order of topic, partition and offset."""
        for topic, partition in sorted(place for place in self._records if place[0] in OUTPUTS):
            held = self._records[topic, partition]
            yield from (held[offset] for offset in sorted(held) if not _is_claim(held[offset]))


class Versions:
    """The rows of each shard at the moments that somebody wants: those that a session restored it from. Others are not kept."""

    def __init__(self, wanted: Iterable[tuple[int, str]]) -> None:
        self._wanted = set(wanted)
        self._rows: dict[tuple[int, str], Rows] = {(shard, digest_text(0)): {} for shard, _ in self._wanted}

    def offer(self, shard: int, digest: str, rows: Rows) -> None:
        if (shard, digest) in self._wanted:
            self._rows.setdefault((shard, digest), dict(rows))

    def find(self, shard: int, digest: str) -> Rows | None:
        return self._rows.get((shard, digest))


class Shelf:
    """One shard's rows as a session stored them, with their digest kept up to date."""

    def __init__(self, rows: Mapping[str, bytes]) -> None:
        self.rows: Rows = dict(rows)
        self._total = sum(row_hash(field, row) for field, row in rows.items())

    def store(self, changes: Mapping[str, bytes | None]) -> None:
        for field, row in changes.items():
            before = self.rows.pop(field, None)
            if before is not None:
                self._total -= row_hash(field, before)
            if row is not None:
                self.rows[field] = row
                self._total += row_hash(field, row)

    @property
    def digest(self) -> str:
        return digest_text(self._total)


class Session:
    """One life of a worker's engine, run as far as it can be."""

    def __init__(
        self, records: Sequence[JournalRecord], log: Log, versions: Versions, presets: Mapping[str, Preset]
    ) -> None:
        self.name = records[0].session
        self.settings = _settings_of(records)
        self._shelves: dict[int, Shelf] = {}
        self._inputs = [entry for record in records for entry in record.inputs]
        self._at = 0
        self._log = log
        self._versions = versions
        self._engine = Engine(self.settings, presets, gates_open=False)
        self._handlers: dict[type, Callable[..., list[Effect]]] = {
            Read: self._read, Latest: self._latest, Timer: lambda entry: self._engine.timer(entry.time_ms), Gate: self._gate,
            Restored: self._restored, Stored: self._stored, Dropped: self._dropped, Unconfirmed: self._unconfirmed,
            Again: lambda entry: self._engine.decide_again(entry.places),
        }  # fmt: skip

    @property
    def waits_for(self) -> Restored | None:
        """The restore that it stands before, if it is not at its end."""
        entry = self._inputs[self._at] if self._at < len(self._inputs) else None
        return entry if isinstance(entry, Restored) else None

    def advance(self) -> Iterator[Effect]:
        """Everything up to the end, or to a restore of rows that nobody stored yet."""
        while self._at < len(self._inputs):
            entry = self._inputs[self._at]
            if isinstance(entry, Restored) and self._versions.find(entry.shard, entry.digest) is None:
                return
            self._at += 1
            yield from self._handlers[type(entry)](entry)

    def _read(self, entry: Read) -> list[Effect]:
        return self._engine.apply_batch(self._log.stretch(entry.topic, entry.partition, entry.first, entry.last))

    def _latest(self, entry: Latest) -> list[Effect]:
        stretches = (self._log.stretch("prices", *stretch) for stretch in entry.stretches)
        return self._engine.fold_prices([record for stretch in stretches for record in stretch])

    def _gate(self, entry: Gate) -> list[Effect]:
        if entry.open:
            return self._engine.open_gate(entry.shard)
        self._engine.shut_gate(entry.shard)
        return []

    def _restored(self, entry: Restored) -> list[Effect]:
        rows = self._versions.find(entry.shard, entry.digest)
        assert rows is not None, "advance waits for them"
        self._shelves[entry.shard] = Shelf(rows)
        self._engine.restore(entry.shard, rows.items())
        return []

    def _stored(self, entry: Stored) -> list[Effect]:
        shelf = self._shelves[entry.shard]
        shelf.store(self._engine.take_dirty(entry.shard))
        self._versions.offer(entry.shard, shelf.digest, shelf.rows)
        return []

    def _dropped(self, entry: Dropped) -> list[Effect]:
        self._engine.drop(entry.shard)
        self._shelves.pop(entry.shard, None)
        return []

    def _unconfirmed(self, entry: Unconfirmed) -> list[Effect]:
        self._engine.forget_unconfirmed(entry.shard)
        return []


class Recomputed:
    """All sessions of a recording, run again, and what they decided."""

    def __init__(
        self, records: Iterable[Record], presets: Mapping[str, Preset], *, wanted: Iterable[tuple[int, str]] = ()
    ) -> None:
        """`wanted` names further rows to keep, by shard and digest: those that a table holds now."""
        journals: dict[str, list[JournalRecord]] = defaultdict(list)
        self.log = Log(_sort_out(records, journals))
        if not journals:
            raise JournalError(
                "the recording holds no journal: record the topic `journal` too ([worker] journal = true)"
            )
        restored = (
            (e.shard, e.digest) for each in journals.values() for r in each for e in r.inputs if isinstance(e, Restored)
        )
        self.versions = Versions([*restored, *wanted])
        self.sessions = [
            Session(_in_order(name, each), self.log, self.versions, presets) for name, each in journals.items()
        ]
        self._decided: set[tuple[str, bytes, bytes]] = set()

    def run(self) -> Iterator[tuple[Session, Effect]]:
        """Every effect of every session.

        Raises:
            JournalError: a session restored rows that no other one stored.
        """
        waiting = list(self.sessions)
        while waiting:
            progressed = False
            for session in waiting:
                before = session.waits_for
                for effect in session.advance():
                    self._note(effect)
                    yield session, effect
                progressed = progressed or session.waits_for is not before or before is None
            waiting = [session for session in waiting if session.waits_for is not None]
            if waiting and not progressed:
                stuck = waiting[0].waits_for
                assert stuck is not None
                raise JournalError(
                    f"session {waiting[0].name} took shard {stuck.shard} over in a state that no session of this recording "
                    "stored: the recording begins too late, or a session's journal is missing"
                )

    def not_decided(self) -> list[Record]:
        """What stands in the output topics and that no session decided: after `run`, nothing."""
        return [r for r in self.log.outputs() if (r.topic, r.key or b"", r.value) not in self._decided]

    def _note(self, effect: Effect) -> None:
        if isinstance(effect, Emit):
            self._decided.add((effect.topic, effect.key.encode(), encode(effect.message)))


def _sort_out(records: Iterable[Record], journals: dict[str, list[JournalRecord]]) -> Iterator[Record]:
    """Passes on all but the journal, which goes to `journals`."""
    for record in records:
        if record.topic == "journal":
            try:
                entry = decode_journal(record.value)
            except msgspec.DecodeError as error:
                raise JournalError(
                    f"journal[{record.partition}]@{record.offset} is not a journal record: {error}"
                ) from error
            journals[entry.session].append(entry)
        elif record.topic in ACCOUNT_TOPICS or record.topic in BROADCAST_TOPICS or record.topic in OUTPUTS:
            yield record


def _in_order(name: str, records: list[JournalRecord]) -> list[JournalRecord]:
    """By number, each once: a producer that was replaced may have written one twice."""
    by_number: dict[int, JournalRecord] = {record.number: record for record in records}
    for number in range(len(by_number)):
        if number not in by_number:
            raise JournalError(f"record {number} of session {name} is missing from the journal")
    return [by_number[number] for number in range(len(by_number))]


def _settings_of(records: Sequence[JournalRecord]) -> Settings:
    return msgspec.convert(records[0].settings, Settings)


def _is_claim(record: Record) -> bool:
    return (
        record.topic == ORDERS and msgspec.json.decode(record.value, type=_Tagged).type == Claim.__struct_config__.tag
    )


class _Tagged(msgspec.Struct):
    type: str
