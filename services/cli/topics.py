"""`ringfence topics`: makes the topics, or tells how the existing ones differ from what is needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, flush_json, note, stop, write_json

if TYPE_CHECKING:
    from services.adapters.topic_admin import Difference, TopicAdmin, WantedTopic
    from services.liquidator.config import Config

app = typer.Typer(
    help="Create the topics, or check that they are as needed.\n\nExample: ringfence topics check --config ringfence.toml",
    no_args_is_help=True,
)

DEFAULT_PARTITIONS = 16
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file; RINGFENCE_… variables override it."),
]
Shadow = Annotated[
    bool, typer.Option("--shadow", help="The topic of `liquidator --shadow` too: liquidation-orders-shadow.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, nothing else on standard output.")]
Partitions = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10_000,
        show_default=False,
        help="Partitions of every account topic. Default: those of the orders topic where it exists, else 16.",
    ),
]


@app.command()
def create(
    config: ConfigFile = None,
    partitions: Partitions = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, max=100, help="Copies of each partition.", show_default="the brokers' own")
    ] = None,
    shadow: Shadow = False,
    as_json: AsJson = False,
) -> None:
    """Create the missing topics; what exists stays as it is, and how it differs is told. Exit code 1: something differs.

    Example: ringfence topics create --config ringfence.toml --partitions 32 --replication-factor 3
    """
    request = Request(partitions, shadow=shadow, make=True, replication_factor=replication_factor)
    _run(config, request, as_json=as_json)


@app.command()
def check(
    config: ConfigFile = None, partitions: Partitions = None, shadow: Shadow = False, as_json: AsJson = False
) -> None:
    """Tell how the topics differ from what is needed. Exit code 1: something differs; 3: no broker answers.

    Example: ringfence topics check --config ringfence.toml
    """
    _run(config, Request(partitions, shadow=shadow, make=False), as_json=as_json)


@dataclass(frozen=True)
class Request:
    """What is asked of the brokers. `partitions` None: those that are there; `replication_factor` None: the brokers' own."""

    partitions: int | None = None
    shadow: bool = False
    make: bool = False
    replication_factor: int | None = None


def _run(path: Path | None, request: Request, *, as_json: bool) -> None:
    import asyncio

    from services.adapters.ports import Refused, Unreachable
    from services.liquidator.config import Misconfigured, load

    try:
        config = load(path)
        made, left = asyncio.run(_compare(config, request))
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    except Unreachable as error:
        stop(str(error), ExitCode.UNREACHABLE)
    except Refused as error:
        stop(str(error), ExitCode.NO)
    _tell(made, left, as_json=as_json)
    raise typer.Exit(ExitCode.NO if left else ExitCode.DONE)


async def _compare(config: "Config", request: Request) -> "tuple[list[WantedTopic], list[Difference]]":
    """What was made, and what differs after that."""
    from services.adapters.topic_admin import BROKERS_DEFAULT, connected, differences

    async with connected(config.kafka.connection("ringfence-topics")) as admin:
        wanted = await needed(admin, config, request.partitions, shadow=request.shadow)
        found = await admin.found([topic.name for topic in wanted])
        made = [topic for topic in wanted if topic.name not in found] if request.make else []
        if made:
            await admin.create(made, request.replication_factor or BROKERS_DEFAULT)
        return made, [d for d in differences(wanted, found) if not (request.make and d.found is None)]


async def needed(
    admin: "TopicAdmin", config: "Config", partitions: int | None, *, shadow: bool = False
) -> "list[WantedTopic]":
    """The catalogue with the partition count asked for, else that of the orders topic, else the default."""
    from services.adapters.topic_admin import wanted_topics
    from services.contracts.topics import SHADOW_TOPIC, TOPICS

    prefix = config.kafka.topic_prefix
    if partitions is None:
        orders = f"{prefix}liquidation-orders"
        found = await admin.found([orders])
        partitions = found[orders].partitions if orders in found else DEFAULT_PARTITIONS
    topics = (*TOPICS, SHADOW_TOPIC) if shadow else TOPICS
    return wanted_topics(prefix, partitions, topics)


def _tell(made: "list[WantedTopic]", left: "list[Difference]", *, as_json: bool) -> None:
    if as_json:
        for topic in made:
            write_json({"topic": topic.name, "made": True, "partitions": topic.partitions, "config": topic.config})
        for difference in left:
            write_json({name: getattr(difference, name) for name in difference.__struct_fields__})
        flush_json()
        return
    for topic in made:
        typer.echo(f"made {topic.name} with {topic.partitions} partition{'s' if topic.partitions > 1 else ''}")
    for difference in left:
        typer.echo(str(difference))
    note("the topics are as needed" if not left else f"{len(left)} differences")
