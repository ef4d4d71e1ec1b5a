"""The journal holds all that an engine was given: from it and the topics, the same effects and rows come out again."""

from __future__ import annotations

import random
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.codec import encode
from services.contracts.journal import JOURNAL, rows_digest
from services.contracts.records import Record
from services.contracts.topics import BROADCAST_TOPICS
from services.engine.effects import Effect, Emit
from services.engine.engine import Engine
from services.engine.pieces import Piece, Pieces, whole
from services.engine.settings import Settings
from services.liquidator.journal import JournalledEngine
from services.replay.journalled import JournalError, Recomputed
from tests.support.histories import Drive, make_history

HISTORIES = st.integers(0, 2**32).map(random.Random)


class Ticking:
    """A clock that moves by a few milliseconds each time it is asked: journal records end anywhere."""

    def __init__(self) -> None:
        self._now = count(0, 0.003)

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return next(self._now)

    def worked(self) -> float:
        return 0.0

    async def sleep(self, _seconds: float) -> None:
        raise AssertionError("nothing here waits")


def driven(pieces: Pieces) -> tuple[int, list[Effect]]:
    """How many records were begun at last, and all effects."""
    effects: list[Effect] = []
    while True:
        try:
            effects += next(pieces).effects
        except StopIteration as end:
            last: Piece = end.value
            return last.records, effects + last.effects


class Workers:
    """One shard, held by a worker that now and then stores it, and dies: the next one goes on from what was stored."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.log: list[Record] = []
        self.journal: list[Record] = []
        self.effects: list[Effect] = []
        self.rows: dict[str, bytes] = {}
        self.stored_at: dict[str, int] = {}
        self._begin(0)

    def _begin(self, number: int) -> None:
        self._number = number
        self._plain = Engine(Settings(account_partitions=1), gates_open=False, piece=self._dice.choice((1, 130, 2_500)))
        session = f"w:{number}"
        self._engine = JournalledEngine(
            self._plain, session, Settings(account_partitions=1), Ticking(),
            lambda _, value: self.journal.append(self._record(JOURNAL, len(self.journal), value)),
        )  # fmt: skip
        self._read([r for r in self.log if r.topic in BROADCAST_TOPICS])
        whole(self._engine.restoring(0, self.rows.items()))
        account_records = [r for r in self.log if r.topic not in BROADCAST_TOPICS]
        self._read([r for r in account_records if r.offset >= self.stored_at.get(r.topic, 0)])
        self.effects += whole(self._engine.opening_gate(0))

    def _read(self, records: list[Record]) -> None:
        """In pieces as small as they come: what is written down of each is what was begun by then."""
        done = 0
        while done < len(records):
            read, effects = driven(self._engine.applying(records[done:]))
            self.effects += effects
            done += read

    def _record(self, topic: str, offset: int, value: bytes) -> Record:
        return Record(topic=topic, partition=0, offset=offset, timestamp_ms=0, key=None, value=value)

    def apply(self, record: Record) -> list[Effect]:
        self.log.append(record)
        before = len(self.effects)
        self._read([record])
        return self.effects[before:]

    def timer(self, time_ms: int) -> list[Effect]:
        effects = whole(self._engine.at_time(time_ms))
        self.effects += effects
        if self._dice.random() < 0.2:
            self.store()
        if self._dice.random() < 0.1:
            self._begin(self._number + 1)
        return effects

    def next_timer_ms(self) -> int | None:
        return self._plain.next_timer_ms()

    def store(self) -> None:
        for field, row in self._engine.take_dirty(0).items():
            if row is None:
                self.rows.pop(field, None)
            else:
                self.rows[field] = row
        self.stored_at = {r.topic: r.offset + 1 for r in self.log}

    def topics(self) -> list[Record]:
        """Everything that a recorder would have kept, in any order."""
        states = [e for e in self.effects if isinstance(e, Emit) and e.topic != "liquidation-orders"]
        written = [
            Record(
                topic=e.topic,
                partition=0,
                offset=number,
                timestamp_ms=0,
                key=e.key.encode(),
                value=encode(e.message),
            )
            for number, e in enumerate(states)
        ]
        records = [*self.log, *self.journal, *written]
        self._dice.shuffle(records)
        return records


def played(dice: random.Random, answers: int) -> Workers:
    workers = Workers(dice)
    Drive(workers, answers).play(make_history(dice))
    workers.store()
    return workers


@given(HISTORIES, st.integers(0, 2**16))
@settings(max_examples=40)
def test_all_effects_and_rows_come_out_again(dice: random.Random, answers: int) -> None:
    workers = played(dice, answers)
    digest = rows_digest(workers.rows.items())
    recomputed = Recomputed(workers.topics(), {}, wanted=[(0, digest)])
    again = sorted(recomputed.run(), key=lambda found: int(found[0].name.partition(":")[2]))
    assert [effect for _, effect in again] == workers.effects
    assert recomputed.versions.find(0, digest) == workers.rows
    assert [r for r in recomputed.not_decided() if r.topic != "liquidation-orders"] == []


def test_something_that_nobody_decided_is_found() -> None:
    workers = played(random.Random(7), 7)
    records = workers.topics()
    place = next(i for i, r in enumerate(records) if r.topic == "account-states")
    forged = Record(
        topic="account-states", partition=0, offset=10**6, timestamp_ms=0, key=records[place].key,
        value=records[place].value.replace(b"0", b"1"),
    )  # fmt: skip
    recomputed = Recomputed([*records, forged], {})
    assert list(recomputed.run())
    assert forged in recomputed.not_decided()


def test_a_recording_that_lacks_what_a_worker_read_says_so() -> None:
    records = [r for r in played(random.Random(7), 7).topics() if r.topic != "prices"]
    with pytest.raises(JournalError, match=r"lacks prices\[0\]"):
        list(Recomputed(records, {}).run())


def test_a_recording_without_journal_says_what_to_record() -> None:
    with pytest.raises(JournalError, match="record the topic `journal` too"):
        Recomputed([r for r in played(random.Random(7), 7).topics() if r.topic != JOURNAL], {})


def test_a_missing_piece_of_a_journal_is_named() -> None:
    records = played(random.Random(7), 7).topics()
    first = next(r for r in records if r.topic == JOURNAL and r.offset == 0)
    with pytest.raises(JournalError, match=r"record 0 of session w:\d+ is missing"):
        Recomputed([r for r in records if r is not first], {})
