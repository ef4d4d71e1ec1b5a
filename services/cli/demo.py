"""`ringfence demo`: a simulated venue, a flash crash and a real worker, on this machine alone."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, flush_json, note, stop, write_json

if TYPE_CHECKING:
    from services.demo.run import Options, Outcome

TOLD = 10  # buckets below zero that are explained one by one


def demo(
    seconds: Annotated[
        float, typer.Option(min=1.0, max=600.0, help="How long the crash lasts on this machine.")
    ] = 40.0,
    seed: Annotated[int, typer.Option(help="Another seed is another crash.")] = 1,
    accounts: Annotated[int, typer.Option(min=1, max=20_000, help="Clients of the simulated venue.")] = 2_000,
    as_json: Annotated[
        bool, typer.Option("--json", help="The summary as one JSON object; nothing else on standard output.")
    ] = False,
) -> None:
    """Watch a flash crash with the shape of 2025-10-10 hit a simulated venue, and a real worker close buckets before they go negative.

    Everything runs on loopback from what is installed with the program, and is gone afterwards. Exit code 1: a bucket went below zero
    that could have been closed in time.

    Example: ringfence demo --seconds 30 --seed 7
    """  # fmt: skip
    import asyncio

    from services.adapters.embedded import EmbeddedUnavailable
    from services.demo.process import WorkerFailed
    from services.demo.run import Options

    try:
        outcome = asyncio.run(_watched(Options(seconds=seconds, seed=seed, accounts=accounts)))
    except asyncio.CancelledError:
        stop("ended by a signal", ExitCode.NO)
    except (EmbeddedUnavailable, WorkerFailed) as failed:
        stop(str(failed), ExitCode.UNREACHABLE)
    _tell(outcome, as_json=as_json)
    raise typer.Exit(ExitCode.DONE if outcome.summary.is_held else ExitCode.NO)


async def _watched(options: "Options") -> "Outcome":
    """The demo, drawn live for a person and told in lines otherwise; always on standard error."""
    from rich.console import Console

    from services.demo.run import play
    from services.demo.screen import LiveScreen, PlainScreen

    console = Console(stderr=True)
    if not console.is_terminal:
        return await play(options, PlainScreen(console))
    with LiveScreen(console) as screen:
        return await play(options, screen)


def _tell(outcome: "Outcome", *, as_json: bool) -> None:
    if as_json:
        write_json(outcome.summary.as_dict())
        flush_json()
    else:
        from rich.console import Console

        from services.demo.screen import summary_table

        Console().print(summary_table(outcome.summary))
    for line in outcome.negatives[:TOLD]:
        note(line)
    if len(outcome.negatives) > TOLD:
        note(f"… and {len(outcome.negatives) - TOLD} more")
