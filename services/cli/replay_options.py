"""The options of `ringfence replay`, each with what `--help` says of it."""

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from services.cli.output import ExitCode, stop
from services.replay.choices import EngineName, Matching

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object an effect, then the summary; nothing else on standard output.")
]
EngineOption = Annotated[
    EngineName, typer.Option(help="both: fast and reference in lockstep; exits 1 at the first difference.")
]
MatchingOption = Annotated[
    Matching | None,
    typer.Option(
        help="What answers the orders. Default: recorded if the recording holds order events, else next.",
        show_default=False,
    ),
]
Risk = Annotated[
    bool, typer.Option("--risk", help="Backtest the margin multipliers; compute them where the recording holds none.")
]
Report = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.html", help="Write an incident report: one page that needs nothing else.", show_default=False
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What if: instrument.ID.FIELD, collateral.ASSET.FIELD, engine.FIELD, risk.FIELD or venue.latency_ms; again for more.",
    ),
]
Shocks = Annotated[
    list[str] | None,
    typer.Option(
        "--shock",
        metavar="ID=PERCENT%@TIME[..TIME]",
        help="What if: marks and index of an instrument (or *) moved, as BTC-PERP=-10%@21:15; with a second time in a line until "
        "then. Times: 21:15 UTC, 2025-10-10T21:15:00Z, +5m after the first price.",
    ),
]
Drops = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="ID@TIME..TIME", help="What if: no price of an instrument (or *) had come."),
]
Sticks = Annotated[
    list[str] | None,
    typer.Option(
        "--stick", metavar="ID@TIME..TIME", help="What if: prices of an instrument (or *) had stuck at the last one."
    ),
]
Variants = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        metavar="NAME:KEY=VALUE,…",
        help="A further what-if of its own in the same pass; KEY as for --set, or shock, drop, stick; again for more.",
    ),
]
FromJournal = Annotated[
    bool,
    typer.Option(
        "--journal",
        help="Compute again, from the recorded journal, exactly what each worker did: what they wrote must come out, byte for byte.",
    ),
]
Diffed = Annotated[
    bool,
    typer.Option(
        "--diff", help="Prove each recorded order from its evidence, and explain each that the replay lacks or adds."
    ),
]
AccountStory = Annotated[
    str | None, typer.Option("--account", metavar="A", help="Tell the story of one account.", show_default=False)
]
UntilOrder = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="ORDER_ID", help="Stop at this order and print what stood then.", show_default=False
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        metavar="kafka://HOST:PORT/PREFIX",
        help="Run no engine: publish the recording to the topics PREFIX + name, with its keys, headers and timestamps.",
        show_default=False,
    ),
]
Speed = Annotated[
    str | None,
    typer.Option(
        metavar="N|max",
        help="N times as fast as recorded, or as fast as possible (max: the default, with --to 1).",
        show_default=False,
    ),
]
OriginalTopics = Annotated[
    bool, typer.Option("--original-topics", help="With --to: the topics' own names are meant. Needs the next flag too.")
]
YesOriginalTopics = Annotated[
    bool, typer.Option("--yes-original-topics", help="With --original-topics: publish where live systems may read.")
]

TO: Final = frozenset({"--to", "--original-topics", "--yes-original-topics"})


def refuse_unheeded(options: Mapping[str, object]) -> None:
    """Ends the command where an option would be without effect beside another: nobody should believe that it was heeded."""
    given = [name for name, value in options.items() if value]
    if "--to" not in given:
        _only(given, set(options) - TO | {"--to"}, "is only of use with --to, which publishes to topics")
    else:
        _only(given, TO, "cannot go with --to, which runs no engine")
    if "--journal" in given:
        _only(given, {"--journal"}, "cannot go with --journal, which computes again what workers did")
    if "--until" in given:
        _only(given, set(options) - {"--report", "--diff"}, "cannot go with --until, which ends before the end")


def _only(given: list[str], allowed: set[str] | frozenset[str], why: str) -> None:
    for name in given:
        if name not in allowed:
            stop(f"{name} {why}", ExitCode.WRONG_USE)
