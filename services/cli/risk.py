"""`ringfence risk`: the publisher of margin multipliers."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.output import ExitCode, stop


def risk(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file; RINGFENCE_… variables and flags override it.")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Kafka brokers (kafka.bootstrap).", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of metrics and probes, 0: any (http.port).", show_default=False)
    ] = None,
) -> None:
    """Publish risk-parameters: multipliers that follow live volatility. Of several processes one is elected, the others wait.

    Section "risk" of the configuration holds the model. SIGTERM ends it cleanly, and another takes over at once.

    Example: ringfence risk --config ringfence.toml
    """  # fmt: skip
    from services.liquidator.config import Misconfigured, load
    from services.risk.election import ElectionSettings
    from services.risk.publisher import RISK_TOPIC, PublisherSettings
    from services.risk.run import run

    try:
        loaded = load(config, {"kafka.bootstrap": bootstrap, "http.port": port})
        kafka = loaded.kafka
        connection = kafka.connection(f"ringfence-risk-{loaded.worker.instance}")
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    election = ElectionSettings(
        connection=connection,
        group=loaded.risk.group,
        topic=f"{kafka.topic_prefix}{RISK_TOPIC}",
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=kafka.heartbeat_interval_ms,
        rebalance_timeout_ms=kafka.rebalance_timeout_ms,
    )
    settings = PublisherSettings(
        connection=connection,
        prefix=kafka.topic_prefix,
        election=election,
        model=loaded.risk.model(),
        look_back_ms=loaded.risk.price_look_back_ms,
        fetch_max_wait_ms=kafka.fetch_max_wait_ms,
    )
    raise typer.Exit(int(run(settings, loaded.http.host, loaded.http.port, loaded.log.level, loaded.log.format)))
