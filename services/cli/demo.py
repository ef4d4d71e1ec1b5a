"""`ringfence demo`: a simulated venue, a flash crash and a real worker, on this machine alone."""

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.demo_report import report_demo, report_path
from services.cli.output import ExitCode, flush_json, note, stop, write_json
from services.demo import ACCOUNTS, SECONDS

if TYPE_CHECKING:
    from services.demo.run import Outcome
    from services.demo.story import Story

TOLD = 10  # buckets below zero that are explained one by one
BUSY = (
    3.0  # processes that want to run, for each core: beyond that a worker waits longer than a compressed crash allows
)


def demo(  # noqa: PLR0917  # typer reads options, not positions
    seconds: Annotated[
        float, typer.Option(min=1.0, max=600.0, help="How long the market moves on this machine.")
    ] = SECONDS,
    seed: Annotated[int, typer.Option(help="Another seed is another crash.")] = 1,
    accounts: Annotated[int, typer.Option(min=1, max=20_000, help="Clients of the simulated venue.")] = ACCOUNTS,
    recording: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Play a recording (JSON Lines, plain, .gz or .zst; - reads standard input) instead of a generated crash.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.html",
            help="Where the incident report goes; the recording is put beside it. Default: the user's cache folder; none with --json.",
            show_default=False,
        ),
    ] = None,
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
    from services.adapters.ports import Unreachable
    from services.adapters.recordings import RecordingError
    from services.demo.process import WorkerFailed
    from services.demo.recorded import NotPlayable

    page = None if as_json and report is None else report_path(report)
    try:
        with ExitStack() as stack:
            story = _story(stack, recording, seconds=seconds, seed=seed, accounts=accounts)
            outcome = asyncio.run(_watched(story))
    except asyncio.CancelledError:
        stop("ended by a signal", ExitCode.NO)
    except NotPlayable as obstacle:
        stop(
            f"{recording}: {obstacle}. The demo's venue keeps books of linear contracts in one asset; "
            f"`ringfence replay {recording}` runs any recording",
            ExitCode.WRONG_USE,
        )
    except RecordingError as error:
        stop(str(error), ExitCode.WRONG_USE)
    except (EmbeddedUnavailable, WorkerFailed, Unreachable) as failed:
        stop(str(failed), ExitCode.UNREACHABLE)
    _tell(outcome, as_json=as_json)
    if page is not None:
        report_demo(outcome, page)
    raise typer.Exit(ExitCode.DONE if outcome.summary.is_held else ExitCode.NO)


def _story(stack: ExitStack, recording: str | None, *, seconds: float, seed: int, accounts: int) -> "Story":
    """The crash of the seed, or the recording, which stays open as long as the stack."""
    from services.adapters.recordings import Recording
    from services.demo.recorded import Recorded
    from services.demo.story import Crash

    if recording is None:
        return Crash(seed, accounts, seconds)
    return Recorded(stack.enter_context(Recording(recording)), seconds)


async def _watched(story: "Story") -> "Outcome":
    """The demo, drawn live for a person and told in lines otherwise; always on standard error."""
    from rich.console import Console

    from services.demo.run import play
    from services.demo.screen import LiveScreen, PlainScreen

    console = Console(stderr=True)
    if not console.is_terminal:
        return await play(story, PlainScreen(console))
    with LiveScreen(console) as screen:
        return await play(story, screen)


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
    if not outcome.summary.is_held and (busy := _busy()):
        note(busy)


def _busy() -> str | None:
    """A word to whom the demo fails on a machine that has no time for it; None where that is not the reason."""
    waiting, cores = os.getloadavg()[0], os.cpu_count() or 1
    if waiting < cores * BUSY:
        return None
    return f"this machine is busy ({waiting:.0f} processes want its {cores} cores): minutes of a crash pass in seconds here, try again"
