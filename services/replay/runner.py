"""A recording through an engine, one input at a time, in the order of the file.

Before each record the timers due at or before its time fire, one by one. Each emitted order is fed straight back as a record
of its topic, as the worker reads it back; what answers it comes from the matching. After the last record only the timers
within `account_settle_ms` fire, so that an account touched by the last records is decided; nothing later is invented.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Final

from services.adapters.recordings import Start
from services.contracts.codec import decode, encode
from services.contracts.messages import Fill, Message, Order, OrderEvent, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import BY_NAME, SHADOW_ORDERS, Role
from services.engine.effects import DeadLetter, Effect, Emit
from services.engine.quiet import Ticks, newest_ms
from services.replay.choices import Matching
from services.replay.engines import ReplayEngine
from services.replay.lines import ORDERS
from services.replay.matching import Answer, Matcher
from services.replay.start import begins_now, restore

OWN_TOPICS: Final = frozenset(
    {name for name, topic in BY_NAME.items() if topic.role is Role.OUTPUT} | {ORDERS, SHADOW_ORDERS}
)
MATCHED_TOPICS: Final = frozenset({"instruments", "collateral", "accounts", "prices", ORDERS})
ANSWER_TOPICS: Final[dict[type[Message], str]] = {Fill: "fills", Transfer: "transfers", OrderEvent: "order-events"}
PLAIN_TOPICS: Final = frozenset(
    {"prices", "instruments", "collateral", "controls", "risk-parameters", "transfers", "accounts"}
)
CLOSING: Final = frozenset({"liquidation", "takeover", "adl"})
STUCK_TIMERS: Final = 1_000


class TimerStuck(RuntimeError):
    """An engine keeps a timer due at one moment for ever: a mistake of ours."""


class Runner:
    """Drives one engine. `now_ms` is the newest time that was reached."""

    def __init__(
        self,
        engine: ReplayEngine,
        matching: Matching,
        *,
        settle_ms: int,
        latency_ms: int = 0,
        start: Start | None = None,
    ) -> None:
        """`latency_ms`: how long an order travels before the matching sees it. `start`: the state that the recording begins with."""
        self._engine = engine
        self._matching = matching
        self._matcher = Matcher(matching)
        self._settle_ms = settle_ms
        self._start = start
        self._latency_ms = latency_ms
        self._travelling: deque[tuple[int, Order]] = deque()  # by arrival: all travel equally long
        self._partitions: dict[str, int] = {}
        self.on_answer: Callable[[Record], None] | None = None  # told every record that the matching made up
        self._next_offset: dict[tuple[str, int], int] = {}
        self.now_ms = 0

    def run(self, records: Iterable[Record]) -> Iterator[Effect]:
        """Every effect, in order."""
        for record in records:
            yield from self.steps((record,))
        yield from self.finish()

    def steps(self, records: Sequence[Record]) -> Iterator[Effect]:
        """The timers that are due, then the record; and so on. The recording's own outputs are not inputs, nor are answers to
        others' orders.
        """
        ticks, at = Ticks(records), 0
        while (at := self._pass_quiet(ticks, at)) < len(records):
            yield from self._step(records[at])
            at += 1

    def _pass_quiet(self, ticks: Ticks, at: int) -> int:
        """Have the engine fold ticks that nothing follows from; answers where they end."""
        due_ms = self._next_due_ms()
        before_ms = inf if due_ms is None else due_ms
        if self._start is not None or before_ms <= self.now_ms or self._matcher.waits:
            return at
        end = self._engine.fold_quiet(ticks, at, before_ms)
        if end > at:
            self.now_ms = max(self.now_ms, newest_ms(ticks.records[at:end]))
            self._matcher.marked(ticks.between(at, end))
        return end

    def _step(self, record: Record) -> Iterator[Effect]:
        topic, time_ms = record.topic, record.timestamp_ms
        if topic not in PLAIN_TOPICS and not self._is_input(record):
            return
        if self._start is not None and begins_now(self._start, record):
            self._begin(self._start)
        due_ms = self._next_due_ms()
        if due_ms is not None and due_ms <= max(self.now_ms, time_ms):
            yield from self._fire(until_ms=max(self.now_ms, time_ms))
        self.now_ms = max(self.now_ms, time_ms)
        effects = self._engine.apply(record)
        self._next_offset[topic, record.partition] = record.offset + 1
        is_answered = self._matching.is_synthetic and topic in MATCHED_TOPICS
        if effects or (is_answered and not (topic == "prices" and self._matcher.passed(record))):
            yield from effects
            yield from self._feed(deque(self._what_follows(record, effects)))

    def finish(self) -> Iterator[Effect]:
        """After the last record."""
        if self._start is not None:
            self._begin(self._start)
        yield from self._fire(until_ms=self.now_ms + self._settle_ms)

    def _begin(self, start: Start) -> None:
        restore(self._engine, start)
        self._start = None

    def _next_due_ms(self) -> int | None:
        """When something happens by itself: in the engine, or because an order arrives at the venue."""
        due_ms = self._engine.next_timer_ms()
        if not self._travelling:
            return due_ms
        arrival_ms = self._travelling[0][0]
        return arrival_ms if due_ms is None else min(due_ms, arrival_ms)

    def _fire(self, *, until_ms: int) -> Iterator[Effect]:
        before, repeats = -1, 0
        while (due_ms := self._next_due_ms()) is not None and due_ms <= until_ms:
            if self._travelling and self._travelling[0][0] == due_ms:
                yield from self._arrive(due_ms)
                continue
            repeats = repeats + 1 if due_ms <= before else 0
            if repeats > STUCK_TIMERS:
                raise TimerStuck(f"the timer of {due_ms} ms is due again after {repeats} rounds")
            before = due_ms
            self.now_ms = max(self.now_ms, due_ms)
            effects = self._engine.timer(due_ms)
            yield from effects
            yield from self._feed(deque(self._read_backs(effects)))

    def _arrive(self, due_ms: int) -> Iterator[Effect]:
        """The venue sees an order that travelled, unless it came too late."""
        _, order = self._travelling.popleft()
        self.now_ms = max(self.now_ms, due_ms)
        late = self.now_ms > order.valid_until_ms
        answers = self._matcher.refused(order, self.now_ms) if late else self._matcher.ordered(order, self.now_ms)
        yield from self._feed(deque(self._made(answers)))

    def _feed(self, inputs: deque[Record]) -> Iterator[Effect]:
        """The inputs, and everything that follows from them."""
        while inputs:
            record = inputs.popleft()
            effects = self._engine.apply(record)
            self._next_offset[record.topic, record.partition] = record.offset + 1
            yield from effects
            inputs.extend(self._what_follows(record, effects))

    def _what_follows(self, record: Record, effects: list[Effect]) -> list[Record]:
        """Orders are read back first, then answered."""
        return self._read_backs(effects) + self._answers(record, effects)

    def _read_backs(self, effects: list[Effect]) -> list[Record]:
        records = []
        for effect in effects:
            if isinstance(effect, Emit) and isinstance(effect.message, Order):
                self._partitions[effect.message.account] = effect.partition or 0
                records.append(self._synthetic(ORDERS, effect.message))
        return records

    def _answers(self, record: Record, effects: list[Effect]) -> list[Record]:
        """What the matching says to a record that was taken in."""
        if not self._matching.is_synthetic or record.topic not in MATCHED_TOPICS:
            return []
        message = decode(record.topic, record.value)
        if isinstance(message, Refusal) or any(isinstance(e, DeadLetter) and e.record == record for e in effects):
            return []
        if not isinstance(message, Order):
            answers = self._matcher.saw(message, self.now_ms)
        elif self._latency_ms:
            self._travelling.append((self.now_ms + self._latency_ms, message))
            return []
        else:
            answers = self._matcher.ordered(message, self.now_ms)
        return self._made(answers)

    def _made(self, answers: list[Answer]) -> list[Record]:
        made = [self._synthetic(ANSWER_TOPICS[type(answer)], answer) for answer in answers]
        if self.on_answer is not None:
            for each in made:
                self.on_answer(each)
        return made

    def _synthetic(self, topic: str, message: Order | Answer) -> Record:
        """A record as the topic would hold it: next offset of the account's partition, time of now."""
        partition = self._partitions[message.account]
        offset = self._next_offset.get((topic, partition), 0)
        self._next_offset[topic, partition] = offset + 1
        return Record(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=self.now_ms,
            key=message.account.encode(),
            value=encode(message),
        )

    def _is_input(self, record: Record) -> bool:
        """Not what a monitor wrote; nor, when the matching answers, what answered the recorded orders."""
        if record.topic in OWN_TOPICS:
            return False
        if self._matching is Matching.RECORDED:
            return True
        if record.topic != "fills":
            return record.topic != "order-events"
        fill = decode(record.topic, record.value)
        return not (isinstance(fill, Fill) and fill.order_id is not None and fill.exec_type in CLOSING)
