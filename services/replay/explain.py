"""Why a recorded order and the plain replay of the same recording disagree: named causes, each resting on something recorded.

A replay reads the topics in the order of the recording; a worker read them in its own. Most differences are that, and the
evidence of the two orders says in which topic. Where only one of the two ordered there is less to go by: what the other may have read
earlier or later, whether the shard was owned, how prices were graded then.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from services.contracts.codec import decode
from services.contracts.journal import JOURNAL, Gate, decode_journal
from services.contracts.messages import Claim, Control, Evidence, Instrument, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.effects import Alarm, AlarmName
from services.replay.dockets import EVIDENCE_OF, REFERENCE_TOPICS
from services.replay.recompute import ORDERS

NEAR_MS: Final = 1_000  # what lies this close together two readers may have read in either order
DECIDED_THEN: Final = frozenset({"epoch", "evidence", "ts_ms", "valid_until_ms"})  # when and by whom; not what
GRADING: Final = frozenset(
    {AlarmName.PRICE_UNCONFIRMED, AlarmName.PRICE_ACCEPTED_UNCONFIRMED, AlarmName.PRICE_FROM_FUTURE}
)


class Cause(StrEnum):
    """Why an order is in the recording and not in the replay, the other way round, or another one in each."""

    ANOTHER_TICK = "another_tick"  # decided at other ticks: another order of arrival, or several ticks at once
    LATE_FILL = "late_fill"  # a record of the account had been read by one and not by the other
    PARAMETER_VERSION = "parameter_version"  # instruments, collateral, controls or risk parameters likewise
    PRICE_GRADE = "price_grade"  # a price was stale, unconfirmed or halted for one of them
    GATE_SHUT = "gate_shut"  # nobody owned the shard, or its gate was shut
    FENCED = "fenced"  # its epoch is not that of the latest claim before it: nobody acts on it
    SENT_AGAIN = "sent_again"  # the same order with fresh validity
    FOLLOWS = "follows"  # from an earlier difference of the bucket that is explained
    END_OF_RECORDING = "end_of_recording"  # the worker's order would lie beyond the end
    UNKNOWN = "unknown"


class Reason(Struct, frozen=True):
    """A cause and what it rests on, in words."""

    cause: Cause
    detail: str = ""


def same_decision(recorded: Order, replayed: Order) -> bool:
    """The same close for the same numbers, whenever and by whoever it was decided."""
    ours, theirs = msgspec.to_builtins(recorded), msgspec.to_builtins(replayed)
    return all(ours[name] == theirs[name] for name in ours if name not in DECIDED_THEN)


def by_evidence(recorded: Order, replayed: Order) -> Reason | None:
    """The first kind of record of which the two had read differently far: reference data, the account, prices."""
    ours, theirs = recorded.evidence, replayed.evidence
    for topics, cause in ((REFERENCE_TOPICS, Cause.PARAMETER_VERSION), (ACCOUNT_TOPICS, Cause.LATE_FILL)):
        for topic in topics:
            if topic == ORDERS or topic not in EVIDENCE_OF:
                continue
            mine, other = _offset(ours, topic), _offset(theirs, topic)
            if mine != other and mine is not None and other is not None and mine[0] == other[0]:
                earlier = "had not read" if mine[1] < other[1] else "had already read"
                return Reason(cause, f"the worker {earlier} {topic}[{mine[0]}]@{max(mine[1], other[1])}")
    mine_prices, other_prices = ours.prices or {}, theirs.prices or {}
    moved = sorted(n for n in mine_prices.keys() & other_prices.keys() if mine_prices[n] != other_prices[n])
    if moved:
        told = ", ".join(f"{n} [{mine_prices[n][0]}]@{mine_prices[n][1]} not @{other_prices[n][1]}" for n in moved[:3])
        return Reason(Cause.ANOTHER_TICK, f"the worker decided at {told}, {recorded.ts_ms - replayed.ts_ms:+d} ms")
    return None


def _offset(evidence: Evidence, topic: str) -> tuple[int, int] | None:
    named = getattr(evidence, EVIDENCE_OF[topic])
    return None if named is None else (named[0], named[1])


class Circumstances:
    """What a recording says of gates, grades and accounts' records, by time. Shown every record and every alarm of the replay."""

    def __init__(self, accounts: set[str], max_doubt_ms: int) -> None:
        self._accounts = accounts
        self._max_doubt_ms = max_doubt_ms
        self._claims: dict[int, list[int]] = {}
        self._gates: dict[int, list[tuple[int, bool]]] = {}
        self._doubts: dict[str, list[tuple[int, str]]] = {}
        self._controls: list[tuple[int, str]] = []
        self._touched: dict[str, list[tuple[int, str]]] = {}
        self._ages: dict[str, int] = {}
        self._ticked: dict[str, int] = {}
        self._silences: dict[str, list[tuple[int, int]]] = {}  # longer than a price may be old
        self.last_ms = 0

    def saw(self, record: Record) -> None:
        self.last_ms = max(self.last_ms, record.timestamp_ms)
        if record.topic == "prices":
            self._saw_price(record)
        elif record.topic == "instruments":
            message = decode(record.topic, record.value)
            if isinstance(message, Instrument) and message.max_price_age_ms is not None:
                self._ages[message.instrument] = message.max_price_age_ms
        elif record.topic == ORDERS:
            if isinstance(decode(ORDERS, record.value), Claim):
                self._claims.setdefault(record.partition, []).append(record.timestamp_ms)
        elif record.topic == JOURNAL:
            self._saw_journal(record)
        elif record.topic == "controls":
            message = decode(record.topic, record.value)
            if isinstance(message, Control):
                said = f"{message.action} of {message.scope} {message.target}"
                self._controls.append((record.timestamp_ms, said))
        elif record.topic in ACCOUNT_TOPICS and record.key is not None:
            account = record.key.decode(errors="replace")
            if account in self._accounts:
                place = f"{record.topic}[{record.partition}]@{record.offset}"
                self._touched.setdefault(account, []).append((record.timestamp_ms, place))

    def watch(self, account: str) -> None:
        """From here on the account's records are remembered too: the replay has an order of it."""
        self._accounts.add(account)

    def alarmed(self, alarm: Alarm) -> None:
        if alarm.name in GRADING:
            self._doubts.setdefault(alarm.instrument, []).append((alarm.ts_ms, alarm.name.value))

    def recorded_only(self, order: Order, *, current: bool, unread: Sequence[str], crossed: str) -> Reason:
        """Why the replay did not order it."""
        if not current:
            return Reason(Cause.FENCED, f"epoch {order.epoch} is not that of the latest claim before it")
        if unread:
            return Reason(Cause.LATE_FILL, f"the worker had not read {unread[0]}")
        if crossed:
            return Reason(Cause.ANOTHER_TICK, f"the worker knew its ticks together: in the recording {crossed}")
        return self._graded(order) or self._touched_near(order) or Reason(Cause.UNKNOWN)

    def replay_only(self, order: Order, partition: int, breach: str | None) -> Reason:
        """Why no worker ordered it. `breach`: how long the bucket stayed so, where that was short."""
        if order.ts_ms > self.last_ms - NEAR_MS:
            return Reason(Cause.END_OF_RECORDING, f"{self.last_ms - order.ts_ms} ms before the last record")
        return (
            self._gate(order.ts_ms, partition)
            or (None if breach is None else Reason(Cause.ANOTHER_TICK, breach))
            or self._graded(order)
            or self._touched_near(order)
            or Reason(Cause.UNKNOWN)
        )

    def _saw_price(self, record: Record) -> None:
        name = "" if record.key is None else record.key.decode(errors="replace")
        age = self._ages.get(name)
        if age is None:
            return
        before = self._ticked.get(name, record.timestamp_ms)
        self._ticked[name] = record.timestamp_ms
        if record.timestamp_ms - before > age:
            self._silences.setdefault(name, []).append((before, record.timestamp_ms))

    def _saw_journal(self, record: Record) -> None:
        try:
            entry = decode_journal(record.value)
        except msgspec.MsgspecError:
            return  # of another version: what it says of gates is not known
        for each in entry.inputs:
            if isinstance(each, Gate):
                self._gates.setdefault(each.shard, []).append((entry.ts_ms, each.open))

    def _gate(self, when_ms: int, partition: int) -> Reason | None:
        claims = self._claims.get(partition, [])
        if claims and min(claims) > when_ms:
            return Reason(Cause.GATE_SHUT, f"the shard was first claimed {min(claims) - when_ms} ms later")
        near = [opened for at, opened in self._gates.get(partition, []) if at <= when_ms]
        if near and not near[-1]:
            return Reason(Cause.GATE_SHUT, "the journal says that the shard's gate was shut")
        return None

    def _graded(self, order: Order) -> Reason | None:
        for name in order.evidence.prices or {}:
            for at, what in self._doubts.get(name, ()):
                if at - NEAR_MS <= order.ts_ms <= at + self._max_doubt_ms + NEAR_MS:
                    return Reason(Cause.PRICE_GRADE, f"{name}: {what}, {order.ts_ms - at:+d} ms from it")
            for start, end in self._silences.get(name, ()):
                if start + self._ages[name] - NEAR_MS <= order.ts_ms <= end + NEAR_MS:
                    return Reason(Cause.PRICE_GRADE, f"{name}: stale, silent for {end - start} ms")
        for at, said in self._controls:
            if abs(at - order.ts_ms) <= NEAR_MS:
                return Reason(Cause.PARAMETER_VERSION, f"{said}, {order.ts_ms - at:+d} ms from it")
        return None

    def _touched_near(self, order: Order) -> Reason | None:
        for at, place in self._touched.get(order.account, ()):
            if abs(at - order.ts_ms) <= NEAR_MS:
                return Reason(Cause.LATE_FILL, f"{place} lies {order.ts_ms - at:+d} ms from it")
        return None


def first_of_buckets(differing: Mapping[str, Order]) -> dict[tuple[str, str], str]:
    """By bucket, the id of its first order that differs."""
    first: dict[tuple[str, str], Order] = {}
    for order in differing.values():
        key = (order.account, order.bucket)
        known = first.get(key)
        if known is None or (order.ts_ms, order.attempt) < (known.ts_ms, known.attempt):
            first[key] = order
    return {key: order.order_id for key, order in first.items()}
