"""Every recorded order re-proved from its evidence, in one pass over the recording.

What the order named is entered of its account, no more: the records of an account wait until an order that names them is proved. So
nothing depends on the order in which the topics were recorded, and what is kept grows with the accounts that have orders only.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct, structs

from services.adapters.recordings import Start
from services.contracts.codec import decode, encode
from services.contracts.journal import JOURNAL
from services.contracts.messages import AccountState, Claim, Control, Message, Order
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.engine import Engine
from services.engine.lifecycle import DISTRESSED
from services.engine.portfolio.preset import Preset
from services.engine.rows import BucketRow, decode_row
from services.engine.settings import Settings
from services.replay.dockets import REFERENCE_TOPICS, Contents, Docket, Expected, History, Place, settings_told
from services.replay.recompute import (
    ORDERS,
    Answer,
    Case,
    Difference,
    Reading,
    as_it_stood,
    differences,
    is_sent_again,
    recompute,
    timer_times,
)
from services.replay.references import References

LATER_TICKS: Final = 16  # kept of each price, to see whether a jump waited for its confirmation
UNREAD: Final = frozenset({"fills", "transfers", "accounts", "order-events"})
Outcome = Literal["proved", "sent_again", "differs", "not_decided", "evidence_missing"]


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of the proof of one recorded order. `lacking` names records that the recording does not hold."""

    order: Order
    place: Place
    outcome: Outcome
    current: bool  # its epoch is that of the latest claim before it: consumers act on it
    differences: Sequence[Difference] = ()
    lacking: Sequence[str] = ()
    detail: str = ""
    # Ticks that it rests on together, and that never stood together in the order of the recording.
    crossed: str = ""
    # Records of the account that the recording holds earlier, and that the decision did not know.
    unread: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return self.outcome in ("proved", "sent_again")


class Reproof:
    """Shown every record once, it answers the verdicts that become possible; `finish` answers the rest."""

    def __init__(
        self, contents: Contents, settings: Settings, presets: Mapping[str, Preset], start: Start | None = None
    ) -> None:
        """`start`: the state that the recording begins with."""
        self._contents = contents
        self._settings = [settings]
        self._presets = presets
        self._dockets = {account: Docket(list(expected)) for account, expected in contents.expected.items()}
        self._again = {repeat.place: repeat for repeat in contents.repeats}
        self._references = References()
        self._ticks: dict[Place, Record] = {}
        self._wanted = dict(contents.ticks)
        self._seen = 0
        self._ticked: dict[Place, int] = {}  # when a tick that is named came, counted in records
        self._recent: dict[str, deque[tuple[int, Record]]] = {
            name: deque(maxlen=LATER_TICKS) for name in contents.price_ids
        }
        self._log_ends: dict[int, int] = {}
        self._claims: dict[int, int] = {}
        self._recoveries: dict[tuple[str, str], list[int]] = {}
        self._waiting: dict[str, None] = {}  # accounts whose order was read, but not yet everything that it names
        self._ledger = Engine(_plain(settings), presets, search="full_scan", gates_open=False)
        self._rows: dict[str, dict[str, bytes]] = {}
        self._failed: set[Place] = set()
        self._first: dict[tuple[str, int], int] = {}  # where the account topics begin
        self._began: dict[
            str, Mapping[str, Place]
        ] = {}  # account -> topic -> the last record in what the recording begins with
        if start is not None:
            self._begin(start)

    def _begin(self, start: Start) -> None:
        for partition, rows in start.rows.items():
            own = [(field, row) for field, row in rows if field.partition("|")[0] in self._dockets]
            self._ledger.restore(partition, own)
            self._claims[partition] = self._log_ends[partition] = start.claims[partition]
            for field, raw in own:
                account, _, bucket = field.partition("|")
                row, docket = decode_row(raw), self._dockets[account]
                self._rows.setdefault(account, {})[field] = raw
                if isinstance(row, BucketRow):
                    docket.history.begins(bucket, row.tries)
                else:
                    read = self._began[account] = row.last_read
                    docket.entered |= read
                    seen = read.get(ORDERS, (partition, -1))
                    self._log_ends[partition] = max(self._log_ends[partition], seen[1])
            self._first |= {(topic, partition): 0 for topic in ACCOUNT_TOPICS}

    def saw(self, record: Record) -> Iterator[Verdict]:
        """Takes a record in; answers the orders that can be judged now."""
        topic = record.topic
        self._seen += 1
        if topic == "prices":
            self._saw_price(record)
        elif topic in self._references_of:
            self._references.saw(record)
            if topic in ("instruments", "collateral"):
                self._ledger.apply(record)
            elif topic == "controls":
                self._saw_control(record)
        elif topic in ACCOUNT_TOPICS:
            self._first.setdefault((topic, record.partition), record.offset)
            yield from self._saw_account(record)
        elif topic == "account-states":
            self._saw_state(record)
        elif topic == JOURNAL:
            self._saw_journal(record)
        if self._waiting and topic in ("prices", *REFERENCE_TOPICS):
            yield from self._retry()

    _references_of: Final = frozenset(REFERENCE_TOPICS)

    def finish(self) -> Iterator[Verdict]:
        """At the end of the recording: what could not be judged lacks evidence."""
        for account in sorted(self._dockets):
            docket = self._dockets[account]
            while (expected := docket.next) is not None:
                self._enter(docket)
                order = docket.orders[expected.offset]
                lacking = self._lacking(docket, expected)
                docket.proved(expected)
                yield Verdict(
                    order=order, place=(expected.partition, expected.offset), outcome="evidence_missing",
                    current=expected.current, lacking=lacking,
                )  # fmt: skip

    # -- reading -------------------------------------------------------------------------------------------------------

    def _saw_price(self, record: Record) -> None:
        place = (record.partition, record.offset)
        if place in self._wanted:
            self._ticks[place] = record
            self._ticked[place] = self._seen
        if not self._recent:
            return
        name = None if record.key is None else record.key.decode(errors="replace")
        if name is None:
            message = decode(record.topic, record.value)
            name = getattr(message, "instrument", "")
        recent = self._recent.get(name)
        if recent is not None:
            recent.append((self._seen, record))

    def _saw_account(self, record: Record) -> Iterator[Verdict]:
        message = decode(record.topic, record.value)
        if record.topic == ORDERS:
            self._log_ends[record.partition] = record.offset
            if isinstance(message, Claim):
                self._claims[record.partition] = record.offset
                yield from self._retry()
                return
        account = _account_of(message, record)
        docket = self._dockets.get(account)
        if docket is None or docket.next is None:
            if isinstance(message, Order):
                yield from self._sent_again(message, record)
            return
        if isinstance(message, Order):
            if (record.partition, record.offset) not in self._again:
                docket.orders[record.offset] = message
            if message.epoch == self._claims.get(record.partition, 0):
                docket.held.append(structs.replace(record, value=encode(structs.replace(message, epoch=0))))
            yield from self._sent_again(message, record)
        else:
            docket.held.append(record)
        yield from self._advance(account, docket)

    def _sent_again(self, order: Order, record: Record) -> Iterator[Verdict]:
        repeat = self._again.get((record.partition, record.offset))
        if repeat is not None:
            failed = repeat.before in self._failed
            yield Verdict(
                order=order, place=repeat.place, outcome="differs" if failed else "sent_again",
                current=order.epoch == self._claims.get(record.partition, 0),
                detail=f"the content of {ORDERS}[{repeat.before[0]}]@{repeat.before[1]}",
            )  # fmt: skip

    def _saw_control(self, record: Record) -> None:
        """A clear settles doubts of the accounts that it names: for each of them when its orders say that it was read."""
        control = decode(record.topic, record.value)
        if not isinstance(control, Control) or control.action != "clear":
            return
        for account, docket in self._dockets.items():
            if docket.next is not None and (
                control.scope == "all" or (control.scope, control.target) == ("account", account)
            ):
                own = structs.replace(control, scope="account", target=account)
                docket.held.append(structs.replace(record, value=encode(own)))

    def _saw_state(self, record: Record) -> None:
        message = decode(record.topic, record.value)
        if isinstance(message, AccountState) and message.account in self._dockets:
            times = self._recoveries.setdefault((message.account, message.bucket), [])
            if message.previous_status in DISTRESSED and message.status not in DISTRESSED:
                times.append(message.ts_ms)

    def _saw_journal(self, record: Record) -> None:
        """A worker's own settings hold for its orders; whose order it was nobody says, so each is tried."""
        settings = settings_told(record)
        if settings is not None and settings not in self._settings:
            self._settings.append(settings)

    # -- judging -------------------------------------------------------------------------------------------------------

    def _retry(self) -> Iterator[Verdict]:
        for account in list(self._waiting):
            yield from self._advance(account, self._dockets[account])

    def _advance(self, account: str, docket: Docket) -> Iterator[Verdict]:
        while (expected := docket.next) is not None:
            self._enter(docket)
            order = docket.orders.get(expected.offset)
            if order is None:
                break
            if self._lacking(docket, expected):
                self._waiting[account] = None
                return
            verdict = self._judge(account, docket, expected, order)
            docket.proved(expected)
            self._let_go(expected)
            if not verdict.holds:
                self._failed.add(verdict.place)
            yield verdict
        self._waiting.pop(account, None)

    def _enter(self, docket: Docket) -> None:
        for record in docket.due():
            self._ledger.apply(record)

    def _lacking(self, docket: Docket, expected: Expected) -> list[str]:
        lacking = docket.missing(expected, self._log_ends.get(expected.partition, -1))
        lacking += self._references.missing(expected)
        lacking += [f"prices[{p}]@{o} of {n}" for n, (p, o) in expected.ticks.items() if (p, o) not in self._ticks]
        return lacking

    def _let_go(self, expected: Expected) -> None:
        """A tick that no other order names is forgotten."""
        for place in expected.ticks.values():
            self._wanted[place] -= 1
            if not self._wanted[place]:
                del self._wanted[place], self._ticks[place], self._ticked[place]

    def _judge(self, account: str, docket: Docket, expected: Expected, order: Order) -> Verdict:
        rows = self._rows_of(account, expected.partition)
        if _is_known(rows, order):
            return self._verdict(expected, order, "sent_again", detail="known from what the recording begins with")
        waiting = self._waiting_orders(docket, expected, order)
        case = Case(
            order=order, partition=expected.partition, reference=self._references.seen_by(expected, order.ts_ms),
            ticks=[self._ticks[place] for place in sorted(expected.ticks.values())], later=self._later(expected, order),
            claimed=expected.claimed,
        )  # fmt: skip
        best: list[Difference] | None = None
        answer: Answer | None = None
        for answer in self._attempts(case, rows, waiting):
            if answer.order is None:
                continue
            differing = differences(order, answer.order)
            if not differing:
                return self._verdict(expected, order, "proved")
            best = differing if best is None or len(differing) < len(best) else best
        cut_off = [f"{t}[{p}] before @{at}" for (t, p), at in self._first.items() if p == expected.partition and at > 0]
        cut_off += self._decided_before(account, expected)
        if cut_off:
            return structs.replace(self._verdict(expected, order, "evidence_missing"), lacking=cut_off)
        if best is not None:
            return self._verdict(expected, order, "differs", best)
        return self._verdict(expected, order, "not_decided", detail=_why_not(answer))

    def _decided_before(self, account: str, expected: Expected) -> list[str]:
        """Records that it did not know, and that the state at the beginning holds already: as it stood then, the account is gone."""
        found = []
        for topic, (partition, offset) in self._began.get(account, {}).items():
            named = expected.place(topic)
            if named is not None and topic in UNREAD and named[1] < offset:
                found.append(f"the state without {topic}[{partition}]@{offset}")
        return found

    def _waiting_orders(self, docket: Docket, expected: Expected, order: Order) -> list[Order]:
        """What the same worker had decided of the account before, and had not read back."""
        named, waiting = expected.place(ORDERS), []
        for record in docket.held:
            is_between = (named is None or record.offset > named[1]) and record.offset < expected.offset
            if record.topic != ORDERS or not is_between or (record.partition, record.offset) in self._again:
                continue
            other = decode(ORDERS, record.value)
            if isinstance(other, Order):
                waiting.append(structs.replace(other, epoch=order.epoch))
        return waiting

    def _attempts(self, case: Case, rows: Mapping[str, bytes], waiting: list[Order]) -> Iterator[Answer]:
        """The likeliest reading first: when the distress began is not in the evidence, nor is a jump that nobody had confirmed."""
        history, doubts = self._dockets[case.order.account].history, (False, True) if case.later else (False,)
        readings = [Reading(doubtful, timers) for timers in (None, *timer_times(case)) for doubtful in doubts]
        for settings in self._settings:
            for cut in self._cuts(case.order, history):
                stood = as_it_stood(rows, case.order, waiting, history.tries(case.order.bucket, cut))
                for reading in readings:
                    yield recompute(case, stood, settings, self._presets, reading)

    def _cuts(self, order: Order, history: History) -> list[int]:
        """When the bucket's distress may have begun: as its recorded states say, else with any of its tries."""
        tries = sorted(when for each in history.tries(order.bucket, 0).values() for _, when in each)
        told = [when for when in self._recoveries.get((order.account, order.bucket), ()) if when <= order.ts_ms]
        guesses = [max(told)] if told else []
        return list(dict.fromkeys([*guesses, 0, *(when + 1 for when in reversed(tries))]))

    def _later(self, expected: Expected, order: Order) -> list[Record]:
        return [record for _, _, record in self._after(expected) if record.timestamp_ms <= order.ts_ms]

    def _after(self, expected: Expected) -> Iterator[tuple[str, int, Record]]:
        """Ticks of the prices that are named, after those that are: price, when it came, record."""
        for name, (partition, offset) in expected.ticks.items():
            for seen, record in self._recent[name]:
                if record.partition == partition and record.offset > offset:
                    yield name, seen, record

    def _crossed(self, expected: Expected) -> str:
        last = max((self._ticked.get(place, 0) for place in expected.ticks.values()), default=0)
        for name, seen, record in self._after(expected):
            if seen < last:
                return f"{name} had moved on to [{record.partition}]@{record.offset}"
        return ""

    def _rows_of(self, account: str, partition: int) -> dict[str, bytes]:
        for field, row in self._ledger.take_dirty(partition).items():
            rows = self._rows.setdefault(field.partition("|")[0], {})
            if row is None:
                rows.pop(field, None)
            else:
                rows[field] = row
        return self._rows.get(account, {})

    def _verdict(
        self, expected: Expected, order: Order, outcome: Outcome, differing: Sequence[Difference] = (), detail: str = ""
    ) -> Verdict:
        held = self._dockets[order.account].held
        unread = [
            f"{r.topic}[{r.partition}]@{r.offset}" for r in held if r.topic in UNREAD and r.timestamp_ms <= order.ts_ms
        ]
        return Verdict(
            order=order, place=(expected.partition, expected.offset), outcome=outcome, current=expected.current,
            differences=differing, detail=detail, unread=unread, crossed=self._crossed(expected),
        )  # fmt: skip


def _is_known(rows: Mapping[str, bytes], order: Order) -> bool:
    """Whether the account had this very order before: its first record lies before the recording."""
    raw = rows.get(f"{order.account}|{order.bucket}")
    row = None if raw is None else decode_row(raw)
    known = row.orders.get(order.order_id) if isinstance(row, BucketRow) else None
    return known is not None and known.content is not None and is_sent_again(order, known.content)


def _plain(settings: Settings) -> Settings:
    """For the ledger alone: every partition, and no mark will come."""
    return structs.replace(settings, account_partitions=None)


def _account_of(message: Message | Refusal, record: Record) -> str:
    named = getattr(message, "account", None)
    if named is None and record.key is not None:
        named = record.key.decode(errors="replace")
    return named or ""


def _why_not(answer: Answer | None) -> str:
    view = None if answer is None else answer.view
    if view is None:
        return "the bucket is not known from the records that it names"
    return f"the bucket is {view.status}, equity {view.equity}, maintenance {view.maintenance_margin}"
