"""One replay from start to summary: recording, what-if, engine, matching."""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

from msgspec import Struct

from services.adapters.presets import load_presets
from services.adapters.recordings import Recording
from services.contracts.records import Record
from services.engine.effects import Effect
from services.engine.settings import Settings
from services.replay.choices import EngineName, Matching
from services.replay.engines import ReplayEngine, make_engine
from services.replay.overrides import OverrideError, Overrides
from services.replay.risk import RiskFeed, holds_risk_parameters
from services.replay.runner import Runner, holds_order_events
from services.replay.summary import Summary, Tally


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


def chosen_matching(plan: Plan) -> Matching:
    """The matching asked for; else the recording's own answers where it holds any, else the next mark."""
    if plan.matching is not None:
        return plan.matching
    return Matching.RECORDED if holds_order_events(plan.recording.records()) else Matching.NEXT


def replay(
    plan: Plan,
    overrides: Overrides,
    on_effect: Callable[[Effect], None],
    watched: Callable[[Iterable[Record]], Iterable[Record]] = iter,
    observer: Observer | None = None,
) -> Summary:
    """Runs the recording once, hands over each effect as it is decided, and sums up.

    `watched` wraps the records (a progress display). Raises `RecordingError`, `OverrideError`, and `Differs` in lockstep.
    """
    settings = overrides.settings(plan.settings)
    matching = chosen_matching(plan)
    engine = make_engine(plan.engine, settings, load_presets())
    runner, tally = Runner(engine, matching, settle_ms=settings.account_settle_ms), Tally()
    if observer is not None:
        observer.attach(engine)
        runner.on_answer = observer.answered
    started = perf_counter()
    records, feed = tally.records_of(overrides.records(watched(plan.recording.records()))), None
    if not plan.risk and any(target.startswith("risk.") for target in overrides.changes):
        raise OverrideError("--set risk: only with --risk")
    if plan.risk:
        feed = RiskFeed(overrides.risk_model(), settings, computes=not holds_risk_parameters(plan.recording.records()))
        records = feed.records(records)
    for effect in runner.run(records):
        tally.count(effect)
        on_effect(effect)
    elapsed_s = perf_counter() - started
    if overrides.unused:
        raise OverrideError(f"--set {overrides.unused[0]}: the recording has no such record")
    return tally.summary(engine, elapsed_s, None if feed is None else feed.backtest())
