"""`ringfence replay --diff`: the orders of a recording against their own evidence, and against a plain replay of the recording."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from services.adapters.recordings import Start
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.effects import Alarm, Effect, Emit
from services.engine.portfolio.preset import Preset
from services.engine.settings import Settings
from services.replay.dockets import contents_of
from services.replay.engines import ReplayEngine
from services.replay.explain import NEAR_MS, Cause, Circumstances, Reason, by_evidence, first_of_buckets, same_decision
from services.replay.recompute import ORDERS
from services.replay.reproof import Outcome, Reproof, Verdict

Replay = Literal["same", "changed", "recorded_only", "replay_only"]
MOST_TICKS: Final = 200  # looked at of what follows an order
HELD: Final = frozenset({"proved", "sent_again"})


class Finding(Struct, frozen=True, kw_only=True):
    """One order: whether it is proved by its own evidence, and how the plain replay compares."""

    order: Order
    place: tuple[int, int] | None  # in the recording; None: only the replay has it
    proof: Outcome | None
    replay: Replay | None  # None: sent again, the first one is what is compared
    reason: Reason | None = None
    verdict: Verdict | None = None

    @property
    def is_good(self) -> bool:
        """Proved, and its difference from the replay, if there is one, explained. What was fenced nobody acts on."""
        if self.reason is not None and self.reason.cause is Cause.UNKNOWN:
            return False
        return self.proof is None or self.proof in HELD or (self.verdict is not None and not self.verdict.current)

    def line(self) -> dict[str, Any]:
        """As `--json` prints it."""
        order, verdict = self.order, self.verdict
        return {
            "effect": "diff", "order_id": order.order_id, "account": order.account, "bucket": order.bucket,
            "instrument": order.instrument, "attempt": order.attempt, "ts_ms": order.ts_ms,
            "place": None if self.place is None else [ORDERS, *self.place], "proof": self.proof, "replay": self.replay,
            "cause": None if self.reason is None else self.reason.cause.value,
            "detail": "" if self.reason is None else self.reason.detail,
            "differences": [] if verdict is None else [msgspec.to_builtins(each) for each in verdict.differences],
            "missing": [] if verdict is None else [*verdict.lacking, *([verdict.detail] if verdict.outcome == "not_decided" else [])],
        }  # fmt: skip


class Breaches:
    """How long the buckets of the replay's orders stayed liquidatable: a worker that folds several ticks at once passes over some."""

    def __init__(self) -> None:
        self._engine: ReplayEngine | None = None
        self._watched: dict[str, tuple[Order, int]] = {}  # with the ticks since
        self._tick_ms = 0
        self._known: set[str] = set()  # an order that is sent again is no new breach
        self._short: dict[str, str] = {}

    def attach(self, engine: ReplayEngine) -> None:
        self._engine = engine

    def watch(self, order: Order) -> None:
        if order.order_id not in self._known:
            self._known.add(order.order_id)
            self._watched[order.order_id] = (order, 0)

    def short(self, order_id: str) -> str | None:
        """In words, where it was over within `NEAR_MS`."""
        return self._short.get(order_id)

    def saw(self, record: Record) -> None:
        """Another tick is coming: the buckets as the one before has left them."""
        if record.topic != "prices":
            return
        before_ms, self._tick_ms = self._tick_ms, record.timestamp_ms
        assert self._engine is not None, "attached before the first record"
        for order_id, (order, ticks) in list(self._watched.items()):
            elapsed_ms = max(0, before_ms - order.ts_ms)
            view = (
                self._engine.view(order.account, order.bucket) if elapsed_ms <= NEAR_MS and ticks < MOST_TICKS else None
            )
            if view is None:
                del self._watched[order_id]
            elif not view.liquidatable:
                del self._watched[order_id]
                self._short[order_id] = (
                    f"the bucket was liquidatable for {elapsed_ms} ms ({ticks} ticks) in the order of the recording"
                )
            else:
                self._watched[order_id] = (order, ticks + 1)


class Diff:
    """Beside a replay: shown each record before the engine gets it, and each effect; at the end it answers the findings."""

    def __init__(
        self, records: Iterable[Record], settings: Settings, presets: Mapping[str, Preset], start: Start | None = None
    ) -> None:
        """`records` is looked through once for the orders that are to be proved; `start` is what they begin with."""
        self._contents = contents_of(records, None if start is None else start.claims)
        self.settings = self._contents.settings or settings  # a worker's own, where its journal tells them
        self._reproof = Reproof(self._contents, self.settings, presets, start)
        self._around = Circumstances(set(self._contents.expected), settings.confirm_max_ms)
        self._verdicts: list[Verdict] = []
        self._replayed: dict[str, tuple[Order, int]] = {}
        self._breaches = Breaches()

    def attach(self, engine: ReplayEngine) -> None:
        self._breaches.attach(engine)

    def answered(self, record: Record) -> None:
        """What the matching says changes no finding."""

    def saw(self, record: Record) -> None:
        """The engine has taken in every record before this one."""
        self._around.saw(record)
        self._breaches.saw(record)
        self._verdicts += self._reproof.saw(record)

    def decided(self, effect: Effect) -> None:
        if isinstance(effect, Alarm):
            self._around.alarmed(effect)
        elif isinstance(effect, Emit) and isinstance(effect.message, Order):
            self._replayed.setdefault(effect.message.order_id, (effect.message, effect.partition or 0))
            self._around.watch(effect.message.account)
            self._breaches.watch(effect.message)

    def findings(self) -> list[Finding]:
        """Every order of the recording in the order of its log, then those that only the replay has."""
        self._verdicts += self._reproof.finish()
        recorded = self._compared()
        reasons = self._reasons(recorded)
        found = []
        for verdict in sorted(self._verdicts, key=lambda each: (each.order.ts_ms, each.place)):
            order_id = verdict.order.order_id
            is_first = recorded.get(order_id) is verdict
            found.append(
                Finding(
                    order=verdict.order, place=verdict.place, proof=verdict.outcome, verdict=verdict,
                    replay=self._against(verdict.order) if is_first else None,
                    reason=reasons.get(order_id) if is_first else _set_aside(verdict),
                )
            )  # fmt: skip
        for order_id, (order, _) in self._replayed.items():
            if order_id not in recorded:
                found.append(
                    Finding(order=order, place=None, proof=None, replay="replay_only", reason=reasons[order_id])
                )
        return found

    def _compared(self) -> dict[str, Verdict]:
        """By id the verdict on the order that consumers act on: the first of the current ones, else the first."""
        chosen: dict[str, Verdict] = {}
        for verdict in sorted(self._verdicts, key=lambda each: each.place[1]):
            known = chosen.get(verdict.order.order_id)
            if known is None or (verdict.current and not known.current):
                chosen[verdict.order.order_id] = verdict
        return chosen

    def _against(self, order: Order) -> Replay:
        known = self._replayed.get(order.order_id)
        if known is None:
            return "recorded_only"
        return "same" if same_decision(order, known[0]) else "changed"

    def _reasons(self, recorded: Mapping[str, Verdict]) -> dict[str, Reason]:
        """Why each order differs that does; what comes after a difference of its bucket may follow from it."""
        differing = {i: v.order for i, v in recorded.items() if self._against(v.order) != "same"}
        differing |= {i: order for i, (order, _) in self._replayed.items() if i not in recorded}
        first = first_of_buckets(differing)
        reasons: dict[str, Reason] = {}
        for order_id, order in sorted(differing.items(), key=lambda item: (item[1].ts_ms, item[1].attempt, item[0])):
            head = first[order.account, order.bucket]
            reason = self._reason(order_id, order, recorded.get(order_id))
            if reason.cause is Cause.UNKNOWN and head != order_id and reasons[head].cause is not Cause.UNKNOWN:
                reason = Reason(Cause.FOLLOWS, f"from order {head}")
            reasons[order_id] = reason
        return reasons

    def _reason(self, order_id: str, order: Order, verdict: Verdict | None) -> Reason:
        known = self._replayed.get(order_id)
        if verdict is None:
            assert known is not None, "an order is in the recording, in the replay, or in both"
            return self._around.replay_only(order, known[1], self._breaches.short(order_id))
        if known is None:
            return self._around.recorded_only(
                order, current=verdict.current, unread=verdict.unread, crossed=verdict.crossed
            )
        return by_evidence(order, known[0]) or Reason(Cause.UNKNOWN)


def summary_line(findings: Iterable[Finding]) -> dict[str, Any]:
    """Counts of it all: the line before the summary."""
    found = list(findings)
    proofs = Counter(each.proof for each in found if each.place is not None)
    compared = Counter(each.replay for each in found)
    causes = Counter(each.reason.cause.value for each in found if each.reason is not None)
    return {
        "effect": "diff-summary",
        "recorded": sum(proofs.values()),
        **{name: proofs[name] for name in ("proved", "sent_again", "differs", "not_decided", "evidence_missing")},
        **{name: compared[name] for name in ("same", "changed", "recorded_only", "replay_only")},
        "causes": dict(sorted(causes.items())),
        "unexplained": causes[Cause.UNKNOWN.value],
        "good": all(each.is_good for each in found),
    }


def bad_first(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What a person must look at, then the other differences; what is the same and proved not at all."""
    found = list(findings)
    yield from (each for each in found if not each.is_good)
    yield from (each for each in found if each.is_good and each.reason is not None)


def _set_aside(verdict: Verdict) -> Reason:
    """Why a record is not the one that is compared under its id."""
    if not verdict.current:
        return Reason(Cause.FENCED, f"epoch {verdict.order.epoch} is not that of the latest claim before it")
    return Reason(Cause.SENT_AGAIN, verdict.detail)
