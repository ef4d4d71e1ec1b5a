"""One look through a recording, start to summary: every variant's engine is given each stretch of it in turn.

So the recording is read once, and what is kept does not grow with its length.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, Final, Protocol

from msgspec import Struct

from services.adapters.presets import load_presets
from services.adapters.recordings import Recording
from services.contracts.records import Record
from services.engine.effects import Effect
from services.engine.settings import Settings
from services.replay.choices import EngineName, Matching
from services.replay.compare import Divergence, Ordered
from services.replay.engines import ReplayEngine, make_engine
from services.replay.overrides import OverrideError
from services.replay.risk import RISK_TOPIC, RiskFeed
from services.replay.runner import Runner
from services.replay.summary import Summary, Tally
from services.replay.what_if import WhatIf

STRETCH: Final = 1_024  # records that one engine gets before the next one does


class Observer(Protocol):
    """Who looks on beside the effects: at the engine before the first record, and at what the matching answers."""

    def attach(self, engine: ReplayEngine) -> None: ...
    def answered(self, record: Record) -> None: ...


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be replayed, and how. `matching` None: what suits the recording. Settings before any `--set`."""

    recording: Recording
    engine: EngineName = EngineName.FAST
    matching: Matching | None = None
    settings: Settings = Settings()
    risk: bool = False  # backtest the multipliers, and compute them where the recording holds none
    stretch: int = STRETCH  # 1: what follows from a record is told before the next one is read


def chosen_matching(plan: Plan) -> Matching:
    """The matching asked for; else the recording's own answers where it holds any, else the next mark."""
    if plan.matching is not None:
        return plan.matching
    return Matching.RECORDED if "order-events" in plan.recording.topics else Matching.NEXT


class Run:
    """One variant on its way through the recording."""

    def __init__(self, plan: Plan, what_if: WhatIf, *, computes_risk: bool, compares: bool) -> None:
        """`plan.matching` is chosen. Raises `OverrideError`."""
        assert plan.matching is not None, "the matching is chosen before the first run"
        overrides = what_if.overrides
        settings, latency_ms = overrides.settings(plan.settings), overrides.venue().latency_ms
        if latency_ms and not plan.matching.is_synthetic:
            raise OverrideError(
                "venue.latency_ms: only with --matching next or limit (recorded order events have the latency that they had)"
            )
        if not plan.risk and any(target.startswith("risk.") for target in overrides.changes):
            raise OverrideError("--set risk: only with --risk")
        self.what_if = what_if
        self.engine = make_engine(plan.engine, settings, load_presets())
        self.runner = Runner(
            self.engine, plan.matching, settle_ms=settings.account_settle_ms, latency_ms=latency_ms,
            start=plan.recording.start(),
        )  # fmt: skip
        self.tally = Tally()
        self.ordered = Ordered() if compares else None
        self.divergence = Divergence()
        self.elapsed_s = 0.0
        self._risk = RiskFeed(overrides.risk_model(), settings, computes=computes_risk) if plan.risk else None

    def give(self, records: Sequence[Record], on_effect: Callable[[Effect], None]) -> list[Effect]:
        """The next stretch; answers its effects where runs are compared, after they were handed over one by one."""
        if not self.what_if.is_plain:
            records = [changed for record in records if (changed := self.what_if.record(record)) is not None]
        self.tally.records += len(records)
        if self.ordered is not None:
            self.ordered.saw(records)
        if self._risk is not None:
            records = [made for record in records for made in self._risk.after(record)]
        return self._told(self.runner.steps(records), on_effect)

    def finish(self, on_effect: Callable[[Effect], None]) -> list[Effect]:
        """What is due after the last record."""
        return self._told(self.runner.finish(), on_effect)

    def _told(self, effects: Iterable[Effect], on_effect: Callable[[Effect], None]) -> list[Effect]:
        told = []
        for effect in effects:
            self.tally.count(effect)
            on_effect(effect)
            if self.ordered is not None:
                told.append(effect)
        if self.ordered is not None:
            self.ordered.decided(told)
        return told

    def summary(self, read_s: float) -> Summary:
        """`read_s`: what reading the recording took."""
        backtest = None if self._risk is None else self._risk.backtest()
        return self.tally.summary(self.engine, read_s + self.elapsed_s, backtest)

    def compared(self) -> dict[str, Any]:
        """This run's column of a comparison."""
        assert self.ordered is not None, "only runs that are compared have one"
        first = self.divergence.first
        return {
            "variant": self.what_if.changes,
            "orders": self.tally.orders,
            "notional": self.ordered.notional(),
            "negative_buckets": len(self.engine.negative_buckets),
            "deficit": self.tally.deficit(),
            "first_difference": None if first is None else first.line(),
        }


def prepare(plan: Plan, what_ifs: Sequence[WhatIf]) -> list[Run]:
    """One run each. Raises `OverrideError` for what is mistyped, before anything is read through."""
    computes = plan.risk and RISK_TOPIC not in plan.recording.topics
    return [Run(plan, each, computes_risk=computes, compares=len(what_ifs) > 1) for each in what_ifs]


def drive(
    plan: Plan,
    runs: Sequence[Run],
    listeners: Sequence[Callable[[Effect], None]],
    *,
    watched: Callable[[Iterable[Record]], Iterable[Record]] = iter,
    observers: Sequence[Observer] = (),
) -> list[Summary]:
    """Reads the recording once, hands over each run's effects as they are decided, and sums up, first run first.

    `watched` wraps the records (a progress display, somebody who looks on), `observers` look at the first run. Raises `RecordingError`,
    `OverrideError`, and `Differs` in lockstep.
    """
    for observer in observers:
        observer.attach(runs[0].engine)
    runs[0].runner.on_answer = partial(_tell_all, observers) if observers else None
    records, read_s = iter(watched(plan.recording.records())), 0.0
    while True:
        started = perf_counter()
        stretch = list(islice(records, plan.stretch))
        read_s += perf_counter() - started
        _each(runs, listeners, stretch or None)
        if not stretch:
            break
    for run in runs:
        if run.what_if.unused:
            raise OverrideError(f"{run.what_if.unused[0]}: the recording has no such record")
    return [run.summary(read_s) for run in runs]


def _tell_all(observers: Sequence[Observer], record: Record) -> None:
    for observer in observers:
        observer.answered(record)


def _each(runs: Sequence[Run], listeners: Sequence[Callable[[Effect], None]], stretch: list[Record] | None) -> None:
    """Gives every run the same stretch; None: the end."""
    base: list[Effect] = []
    for number, (run, listener) in enumerate(zip(runs, listeners, strict=True)):
        started = perf_counter()
        told = run.finish(listener) if stretch is None else run.give(stretch, listener)
        run.elapsed_s += perf_counter() - started
        if number == 0:
            base = told
        else:
            run.divergence.compare(base, told)
