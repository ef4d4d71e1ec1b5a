"""The options of `ringfence replay`, each with what `--help` says of it."""

from typing import Annotated

import typer

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
        help="What if: instrument.ID.FIELD, collateral.ASSET.FIELD, engine.FIELD or risk.FIELD; again for more.",
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
        metavar="N|max", help="With --to: N times as fast as recorded (1), or as fast as possible.", show_default=False
    ),
]
OriginalTopics = Annotated[
    bool, typer.Option("--original-topics", help="With --to: the topics' own names are meant. Needs the next flag too.")
]
YesOriginalTopics = Annotated[
    bool, typer.Option("--yes-original-topics", help="With --original-topics: publish where live systems may read.")
]
