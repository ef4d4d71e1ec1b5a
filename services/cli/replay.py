"""`ringfence replay`: a recording through the engine, every effect and a summary."""

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from services.cli.output import ExitCode, flush_json, note, stop, watched, write_json
from services.cli.recordings import KafkaConfig, RecordingPath, opened
from services.cli.replay_options import (
    AsJson,
    EngineOption,
    MatchingOption,
    OriginalTopics,
    Report,
    Risk,
    Sets,
    Speed,
    To,
    YesOriginalTopics,
)
from services.cli.republish import republish
from services.replay.choices import EngineName

if TYPE_CHECKING:
    from services.cli.report import Reporter
    from services.engine.effects import Effect
    from services.replay.lockstep import Differs
    from services.replay.overrides import Overrides
    from services.replay.session import Plan
    from services.replay.summary import Summary


def replay(  # noqa: PLR0917  # typer reads options, not positions
    path: RecordingPath,
    as_json: AsJson = False,
    engine: EngineOption = EngineName.FAST,
    matching: MatchingOption = None,
    risk: Risk = False,
    report: Report = None,
    to: To = None,
    speed: Speed = None,
    original_topics: OriginalTopics = False,
    yes_original_topics: YesOriginalTopics = False,
    config: KafkaConfig = None,
    sets: Sets = None,
) -> None:
    """Run a recording through the engine and print every effect, then a summary. Exit code 1: a bucket went negative, or engines differ.

    Example: ringfence replay recording.jsonl --json --set instrument.BTC-PERP.maintenance_margin_rate=0.01
    """  # fmt: skip
    from msgspec import structs

    from services.cli.report import Reporter, source_of_plan
    from services.replay.lockstep import Differs
    from services.replay.overrides import OverrideError, Overrides
    from services.replay.session import Plan, chosen_matching
    from services.report.page import Variant

    if to is not None:
        told_twice = original_topics and yes_original_topics
        republish(path, to, speed, told_twice=told_twice, config=config, as_json=as_json)
        return
    reporter = None if report is None else Reporter(report)
    try:
        with opened(path, config) as recording:
            plan = Plan(recording=recording, engine=engine, matching=matching, risk=risk)
            runs = [Overrides([]), *([Overrides(sets)] if sets else [])]
            if reporter is not None:
                plan = structs.replace(plan, matching=chosen_matching(plan))
            summaries = run_all(plan, runs, as_json=as_json, reporter=reporter)
            if reporter is not None:
                compared = [
                    Variant(
                        name="what if" if run.changes else "as recorded", summary=summary.line(), changes=run.changes
                    )
                    for run, summary in zip(runs, summaries, strict=True)
                ]
                reporter.write(source_of_plan(path, plan), plan.settings, summaries[0], compared)
    except OverrideError as error:
        flush_json()
        stop(str(error), ExitCode.WRONG_USE)
    except Differs as difference:
        show_difference(difference, as_json=as_json)
        raise typer.Exit(ExitCode.NO) from difference
    went_negative = any(summary.negative_buckets for summary in summaries)
    raise typer.Exit(ExitCode.NO if went_negative else ExitCode.DONE)


def run_all(
    plan: "Plan", runs: "list[Overrides]", *, as_json: bool, reporter: "Reporter | None" = None
) -> "list[Summary]":
    """Each run's effects, then the summaries of all, side by side. The first run is the one that a report is about."""
    from services.replay.session import replay as run_once

    variants = [dict(run.changes) or None for run in runs]
    for run in runs:
        run.settings(plan.settings)  # what is mistyped is told before anything runs
    summaries: list[Summary] = []
    for run, variant in zip(runs, variants, strict=True):
        if variant and not as_json:
            print_line(f"what if {', '.join(f'{key}={value}' for key, value in variant.items())}")
        show = partial(show_effect, variant=variant, as_json=as_json)
        counted = partial(watched, what="records")
        if reporter is None or summaries:
            summaries.append(run_once(plan, run, show, counted))
        else:
            summaries.append(
                run_once(plan, run, reporter.shown(show), reporter.watched(counted), observer=reporter.collector)
            )
    show_summaries(summaries, variants, as_json=as_json)
    return summaries


def show_effect(effect: "Effect", *, variant: dict[str, str] | None, as_json: bool) -> None:
    """One effect as a line; one of a what-if run says last what was changed."""
    from services.replay.lines import effect_line

    line = effect_line(effect)
    if as_json:
        write_json(line if variant is None else {**line, "variant": variant})
    else:
        print_line(effect_text(line))


def effect_text(line: dict[str, Any]) -> str:
    """The line of an effect for a person."""
    cause = "{}[{}]@{}".format(*line["cause"])
    place = "|".join(part for part in (line.get("account"), line.get("bucket")) if part)
    match line["effect"]:
        case "liquidation-order":
            what = (
                f"{line['side']} {line['quantity']} {line['instrument']} at {line['limit_price']} ({line['stage']}, attempt "
                f"{line['attempt']}, mark {line['mark_price']}, equity {line['equity']}, maintenance {line['maintenance_margin']})"
            )
        case "account-state":
            what = f"{line['previous_status']} -> {line['status']}, equity {line['equity']}, maintenance {line['maintenance_margin']}"
        case "dead-letter":
            what = f"{line['reason']}: {line['detail']}"
        case "default":
            what = f"{line['deficit']} {line['asset']} missing"
        case _:
            what = " ".join(part for part in (line["name"], line["instrument"], line["detail"]) if part)
    return f"{line['effect']:<18} {place:<24} {what}  <- {cause}"


def show_summaries(summaries: "list[Summary]", variants: list[dict[str, str] | None], *, as_json: bool) -> None:
    """One summary line a run, or one table with a column a run."""
    lines = [summary.line(variant) for summary, variant in zip(summaries, variants, strict=True)]
    if as_json:
        for line in lines:
            write_json(line)
        flush_json()
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table("summary", box=None, header_style="bold", pad_edge=False)
    for line in lines:
        changed = line.get("variant")
        shown.add_column(
            "as recorded" if changed is None else "\n".join(f"{k}={v}" for k, v in changed.items()), justify="right"
        )
    for key in lines[0]:
        if key != "effect":
            shown.add_row(key, *(_cell(line[key]) for line in lines))
    Console().print(shown)


def show_difference(difference: "Differs", *, as_json: bool) -> None:
    """The input at which two engines disagree, and what each said."""
    if as_json:
        write_json(difference.line())
        flush_json()
        return
    print_line(f"fast and reference differ at {difference.cause}")
    for name, lines in (("fast", difference.fast), ("reference", difference.reference)):
        for line in lines or [{"nothing": None}]:
            print_line(f"  {name:<10} {line}")
    note("ringfence: the engines differ")


def print_line(text: str) -> None:
    typer.echo(text)


def _cell(value: object) -> str:
    if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
        return "\n".join(f"{name}: {each['breaches']} of {each['observations']}" for name, each in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{amount} {asset}" for asset, amount in value.items()) or "none"
    return "none" if value is None else str(value)
