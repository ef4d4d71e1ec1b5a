"""`ringfence top`: the workers of a deployment on one screen, over their status endpoints."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, console, flush_json, stop, write_json

if TYPE_CHECKING:
    from services.top.workers import Seen

PORT_VARIABLE = "RINGFENCE_HTTP__PORT"  # of the configuration; set where a worker runs in a container
DEFAULT_PORT = "9464"


def top(
    url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A worker's listener; repeat for several. Default: the worker on this machine.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print one screen and end; so does an output that is no terminal.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a worker, once.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch workers: shards, lag, statuses, worst buckets, prices, last orders; what is wrong stands first.

    With --once or --json: exit code 1 when a worker is lost or not ready, 3 when none answers.

    Example: ringfence top --url http://127.0.0.1:9464 --url http://127.0.0.1:9465
    """  # fmt: skip
    import asyncio
    import sys
    import time

    from services.top.workers import Workers, status_url

    try:
        urls = [status_url(each) for each in url or [default_url()]]
    except ValueError as error:
        stop(str(error), ExitCode.WRONG_USE)
    workers = Workers(urls, time.monotonic)
    if not (once or as_json) and sys.stdout.isatty():
        from services.top.live import Top

        Top(workers, interval, time.monotonic).run()
        return
    asyncio.run(workers.refresh())
    if as_json:
        _write(workers.seen)
    else:
        from services.top.plain import show
        from services.top.view import screen_of

        show(screen_of(workers.seen, time.monotonic()), console())
    raise typer.Exit(int(verdict(workers.seen)))


def default_url() -> str:
    """Where a worker on this machine, or in this container, listens."""
    import os

    return f"http://127.0.0.1:{os.environ.get(PORT_VARIABLE, DEFAULT_PORT)}"


def verdict(seen: "list[Seen]") -> ExitCode:
    """For scripts: whether all of them answer and are ready."""
    if all(worker.status is None for worker in seen):
        return ExitCode.UNREACHABLE
    ready = all(
        worker.status is not None and not (worker.status.not_live or worker.status.not_ready) for worker in seen
    )
    return ExitCode.DONE if ready else ExitCode.NO


def _write(seen: "list[Seen]") -> None:
    import msgspec

    for worker in seen:
        status = None if worker.status is None else msgspec.to_builtins(worker.status)
        write_json({"url": worker.url, "reachable": status is not None, "error": worker.error, "status": status})
    flush_json()
