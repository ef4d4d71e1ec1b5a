"""`ringfence replay`: a recording through the engine, every effect and a summary."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from services.cli.journal_replay import replay_journal
from services.cli.output import ExitCode, flush_json, note, stop
from services.cli.pacing import paced, speed_of
from services.cli.progress import shown_progress
from services.cli.recordings import KafkaConfig, RecordingPath, opened, recorded_settings
from services.cli.replay_options import (
    AccountStory,
    AsJson,
    Diffed,
    Drops,
    EngineOption,
    FromJournal,
    MatchingOption,
    OriginalTopics,
    Report,
    Risk,
    Sets,
    Shocks,
    Speed,
    Sticks,
    To,
    UntilOrder,
    Variants,
    YesOriginalTopics,
    refuse_unheeded,
)
from services.cli.replay_output import (
    show_comparison,
    show_diff,
    show_difference,
    show_state,
    show_story_line,
    show_summaries,
    spool_to,
    variant_text,
)
from services.cli.republish import republish
from services.replay.choices import EngineName

if TYPE_CHECKING:
    from services.adapters.recordings import Recording
    from services.cli.report import Reporter
    from services.contracts.records import Record
    from services.engine.effects import Effect
    from services.engine.settings import Settings
    from services.replay.choices import Matching
    from services.replay.diff import Diff
    from services.replay.session import Observer, Plan
    from services.replay.story import Story
    from services.replay.summary import Summary
    from services.replay.until import Until
    from services.replay.what_if import WhatIf


def replay(  # noqa: PLR0917  # typer reads options, not positions
    path: RecordingPath,
    as_json: AsJson = False,
    engine: EngineOption = EngineName.FAST,
    matching: MatchingOption = None,
    risk: Risk = False,
    diff: Diffed = False,
    journal: FromJournal = False,
    account: AccountStory = None,
    until: UntilOrder = None,
    report: Report = None,
    to: To = None,
    speed: Speed = None,
    original_topics: OriginalTopics = False,
    yes_original_topics: YesOriginalTopics = False,
    config: KafkaConfig = None,
    sets: Sets = None,
    shocks: Shocks = None,
    drops: Drops = None,
    sticks: Sticks = None,
    variants: Variants = None,
) -> None:
    """Run a recording through the engine and print every effect, then a summary.

    Exit code 1: a bucket went negative, engines differ, --until was not reached, --diff found an order that its evidence does not
    prove or a difference that nothing explains, or --journal something that no worker decided.

    Example: ringfence replay recording.jsonl --json --set instrument.BTC-PERP.maintenance_margin_rate=0.01
    """  # fmt: skip
    refuse_unheeded({
        "--to": to, "--journal": journal, "--until": until, "--report": report, "--diff": diff, "--account": account,
        "--risk": risk, "--matching": matching, "--set": sets, "--shock": shocks, "--drop": drops, "--stick": sticks,
        "--variant": variants, "--original-topics": original_topics, "--yes-original-topics": yes_original_topics,
    })  # fmt: skip
    if to is not None:
        told_twice = original_topics and yes_original_topics
        republish(path, to, speed, told_twice=told_twice, config=config, as_json=as_json)
        return
    if journal:
        replay_journal(path, config=config, as_json=as_json)
        return
    from services.replay.lockstep import Differs
    from services.replay.overrides import OverrideError

    reporter = _reporter(report)
    try:
        asked = what_ifs(sets, [("shock", shocks), ("drop", drops), ("stick", sticks)], variants)
        with opened(path, config) as recording:
            plan = _plan(recording, engine, matching, risk=risk, config=config)
            looks = Looks(plan, diff=diff, account=account, until=until, as_json=as_json, reporter=reporter)
            summaries = run_all(looks, asked, speed=speed)
            if reporter is not None:
                _write_report(reporter, path, looks.plan, asked, summaries)
    except OverrideError as error:
        flush_json()
        stop(str(error), ExitCode.WRONG_USE)
    except Differs as difference:
        show_difference(difference, as_json=as_json)
        raise typer.Exit(ExitCode.NO) from difference
    is_bad = any(summary.negative_buckets for summary in summaries) or looks.said_no
    raise typer.Exit(ExitCode.NO if is_bad else ExitCode.DONE)


class Looks:
    """Who looks on at the recording as it is: the report, the comparison with the recorded orders, an account's story, an end."""

    def __init__(
        self, plan: "Plan", *, diff: bool, account: str | None, until: str | None, as_json: bool, reporter: "Reporter | None"
    ) -> None:  # fmt: skip
        from msgspec import structs

        from services.replay.session import chosen_matching

        self.as_json, self.reporter, self.said_no = as_json, reporter, False
        self.diff: Diff | None = None
        if diff:
            self.diff = _diff(plan)
            plan = structs.replace(plan, settings=self.diff.settings)
        self.story = None if account is None else _story(account, as_json=as_json)
        self.until = None if until is None else _until(until)
        step_by_step = any(look is not None for look in (self.reporter, self.diff, self.story, self.until))
        self.plan = structs.replace(
            plan, matching=chosen_matching(plan), **({"stretch": 1} if step_by_step else {})
        )  # fmt: skip

    @property
    def observers(self) -> "list[Observer]":
        reported = [] if self.reporter is None else [self.reporter.collector]
        return [each for each in (*reported, self.diff, self.story, self.until) if each is not None]

    def records_of(self, records: "Iterable[Record]") -> "Iterator[Record]":
        """The records, shown to everybody before the engine gets them."""
        lookers: list[Callable[[Record], None]] = [
            look.saw for look in (self.diff, self.story, self.until) if look is not None
        ]
        if not lookers:
            yield from records
            return
        for record in records:
            for look in lookers:
                look(record)
            yield record

    def effect(self, show: "Callable[[Effect], None]") -> "Callable[[Effect], None]":
        """Shows an effect to everybody; printed is what nobody tells in other words."""
        is_quiet = self.story is not None or self.until is not None or (self.diff is not None and not self.as_json)
        told = [look.decided for look in (self.diff, self.story, self.until) if look is not None]
        printed = [] if is_quiet else [show if self.reporter is None else self.reporter.shown(show)]
        if is_quiet and self.reporter is not None:
            printed = [self.reporter.shown(lambda _: None)]
        listeners = [*printed, *told]
        if len(listeners) == 1:
            return listeners[0]

        def all_of_them(effect: "Effect") -> None:
            for listener in listeners:
                listener(effect)

        return all_of_them

    def finish(self) -> None:
        """What is told at the end, before the what-ifs and the summary."""
        if self.story is not None:
            self.story.finish()
        if self.diff is not None:
            findings = self.diff.findings()
            if self.reporter is not None:
                self.reporter.note_diff(findings)
            show_diff(findings, as_json=self.as_json)
            self.said_no = not all(finding.is_good for finding in findings)
        if self.until is not None:
            note("ringfence: neither the recording nor the replay holds the order of --until")
            self.said_no = True


def _diff(plan: "Plan") -> "Diff":
    """Imports wait until they are asked for: a plain replay starts without the reference."""
    from services.adapters.presets import load_presets
    from services.replay.diff import Diff

    return Diff(plan.recording.records(), plan.settings, load_presets(), plan.recording.start())


def _story(account: str, *, as_json: bool) -> "Story":
    from services.replay.story import Story

    return Story(account, partial(show_story_line, as_json=as_json))


def _until(order_id: str) -> "Until":
    from services.replay.until import Until

    return Until(order_id)


def what_ifs(
    sets: list[str] | None, feeds: list[tuple[str, list[str] | None]], variants: list[str] | None
) -> "list[WhatIf]":
    """The recording as it is, what `--set` and the feeds make of it together, then each named variant. Raises `OverrideError`."""
    from services.replay.what_if import WhatIf, parse_variant

    asked = [WhatIf()]
    given = [(kind, text) for kind, texts in feeds for text in texts or ()]
    if sets or given:
        asked.append(WhatIf(sets=sets or (), feeds=given))
    return [*asked, *(parse_variant(text) for text in variants or ())]


def run_all(looks: Looks, asked: "list[WhatIf]", *, speed: str | None) -> "list[Summary]":
    """One pass; each run's effects, then the summaries of all, side by side. Variants are held back on disk until it is their turn."""
    from services.replay.session import drive, prepare
    from services.replay.until import Reached

    as_json, pace = looks.as_json, None if speed is None else speed_of(speed)
    runs = prepare(looks.plan, asked)
    with ExitStack() as stack:
        spools = [stack.enter_context(tempfile.TemporaryFile()) for _ in runs[1:]]
        base = looks.effect(spool_to(sys.stdout.buffer, None, as_json=as_json))
        others = [
            spool_to(spool, dict(run.what_if.changes), as_json=as_json) for run, spool in zip(runs[1:], spools, strict=True)
        ]  # fmt: skip

        def shown_to_all(records: "Iterable[Record]") -> "Iterable[Record]":
            counted = partial(shown_progress, total=records_in(looks.plan.recording))
            seen = counted if looks.reporter is None else looks.reporter.watched(counted)
            return looks.records_of(seen(paced(records, pace)))

        try:
            summaries = drive(looks.plan, runs, [base, *others], watched=shown_to_all, observers=looks.observers)
        except Reached as reached:
            assert looks.until is not None, "only who looks for an order reaches it"
            show_state(looks.until.state(reached), as_json=as_json)
            flush_json()
            raise typer.Exit(ExitCode.DONE) from reached
        if looks.reporter is not None and len(runs) > 1:
            looks.reporter.compared = [run.compared() for run in runs]
        looks.finish()
        flush_json()
        for run, spool in zip(runs[1:], spools, strict=True):
            if not as_json:
                typer.echo(f"what if {variant_text(run.what_if.changes)}")
            _copy(spool)
    if len(runs) > 1 and (not as_json or any(run.what_if.is_more_than_sets for run in runs)):
        show_comparison(runs, as_json=as_json)  # with `--set` alone the JSON stays what it always was
    show_summaries(summaries, [dict(run.what_if.changes) or None for run in runs], as_json=as_json)
    return summaries


def records_in(recording: "Recording") -> int | None:
    """How many, where its manifest says so."""
    return None if recording.manifest is None else recording.manifest.records


def _copy(spool: IO[bytes]) -> None:
    spool.seek(0)
    while piece := spool.read(1 << 20):
        sys.stdout.buffer.write(piece)
    flush_json()


def _plan(
    recording: "Recording", engine: EngineName, matching: "Matching | None", *, risk: bool, config: Path | None
) -> "Plan":
    """Settings are the worker's where its configuration is given, else those that the recording was made with, else the defaults."""
    from services.replay.session import Plan

    settings = recorded_settings(recording) if config is None else settings_of(config)
    return Plan(recording=recording, engine=engine, matching=matching, risk=risk, settings=settings)


def settings_of(config: Path) -> "Settings":
    """The engine's settings of a worker's configuration. A recording may hold some partitions only: their count is not checked."""
    from msgspec import structs

    from services.liquidator.config import Misconfigured, load

    try:
        return structs.replace(load(config).engine.settings(1), account_partitions=None)
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)


def _reporter(report: str | None) -> "Reporter | None":
    from services.cli.report import Reporter

    return None if report is None else Reporter(report)


def _write_report(
    reporter: "Reporter", path: str, plan: "Plan", asked: "list[WhatIf]", summaries: "list[Summary]"
) -> None:
    from services.cli.report import source_of_plan, variants_of

    reporter.write(
        source_of_plan(path, plan), plan.settings, summaries[0], variants_of(asked, summaries, reporter.compared)
    )
