"""`ringfence venue`: the simulated venue of the demo, on the Kafka of a deployment."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, stop
from services.cli.topics import ConfigFile

if TYPE_CHECKING:
    from services.adapters.process import Exit
    from services.liquidator.config import Config


def venue(
    config: ConfigFile = None,
    seconds: Annotated[float, typer.Option(min=1.0, max=86_400.0, help="How long the crash takes.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Another seed is another crash.")] = 1,
    accounts: Annotated[int, typer.Option(min=1, max=20_000, help="Clients that open before it.")] = 500,
) -> None:
    """Be a venue for workers to watch: clients open, a flash crash passes, orders are answered, and marks stay fresh until SIGTERM.

    Never on a Kafka that a real venue writes to: the clients and prices are made up. Waits until every shard has a worker.

    Example: ringfence venue --config ringfence.toml --seconds 300
    """
    import asyncio

    from services.liquidator.config import Misconfigured, load

    try:
        loaded = load(config)
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    if loaded.kafka.security_protocol != "PLAINTEXT" or loaded.kafka.topic_prefix:
        stop("the simulated venue speaks to a PLAINTEXT Kafka without a topic prefix only", ExitCode.WRONG_USE)
    raise typer.Exit(int(asyncio.run(_stand(loaded, seed, accounts, seconds))))


async def _stand(config: "Config", seed: int, accounts: int, seconds: float) -> "Exit":
    import asyncio
    import signal

    from services.adapters.logs import configure
    from services.adapters.process import exit_of
    from services.demo.standing import stand
    from services.demo.story import Crash

    log, ending = configure(config.log.level, config.log.format), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    story = stand(config.kafka.bootstrap, lambda run: Crash(seed, accounts, seconds, run), ending, log)
    return await exit_of(story, log)
