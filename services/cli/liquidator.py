"""`ringfence liquidator`: the worker."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.output import ExitCode, stop


def liquidator(  # noqa: PLR0917  # typer reads options, not positions
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file; RINGFENCE_… variables and flags override it.")
    ] = None,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Decide beside a live system: writes to liquidation-orders-shadow only."),
    ] = False,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby", help="Fold every shard, and take over from an owner that falls silent (worker.standby)."
        ),
    ] = False,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Kafka brokers (kafka.bootstrap).", show_default=False)
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Redis, without password (redis.url).", show_default=False)
    ] = None,
    instance: Annotated[
        str | None, typer.Option(help="Name of this worker in claims and logs (worker.instance).", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of metrics and probes, 0: any (http.port).", show_default=False)
    ] = None,
) -> None:
    """Run a worker: as many as the account topics have partitions share the work. SIGTERM ends it cleanly.

    Example: ringfence liquidator --config ringfence.toml --shadow
    """
    from services.liquidator.config import Misconfigured, load
    from services.liquidator.run import run

    flags = {
        "kafka.bootstrap": bootstrap,
        "redis.url": redis_url,
        "worker.instance": instance,
        "http.port": port,
        "shadow": shadow or None,
        "worker.standby": standby or None,
    }
    try:
        loaded = load(config, flags)
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    raise typer.Exit(int(run(loaded)))
