"""How commands take a recording: one argument, one way to reach brokers, one end for what is wrong with it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, flush_json, stop

if TYPE_CHECKING:
    from services.adapters.kafka_connection import KafkaConnection
    from services.adapters.recordings import Recording
    from services.engine.settings import Settings

RecordingPath = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="A recording: a folder of `ringfence record`, JSON Lines (plain, .gz, .zst; - reads standard input), "
        "or kafka://HOST:PORT/PREFIX?from=TIME&to=TIME&topics=A,B.",
    ),
]
KafkaConfig = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="For kafka:// paths: credentials from the [kafka] section.", show_default=False
    ),
]


@contextmanager
def opened(path: str, config: Path | None = None) -> "Iterator[Recording]":
    """The recording, for the time of the block. What is wrong with it, or with its brokers, ends the command."""
    from services.adapters.ports import Unreachable
    from services.adapters.recordings import Recording, RecordingError

    try:
        with Recording(path, connect_with(config)) as recording:
            yield recording
    except RecordingError as error:
        flush_json()
        stop(str(error), ExitCode.WRONG_USE)
    except Unreachable as error:
        flush_json()
        stop(str(error), ExitCode.UNREACHABLE)


def recorded_settings(recording: "Recording") -> "Settings":
    """What the engine was configured with where the recording was made, else the defaults. Raises `RecordingError`."""
    from services.engine.settings import Settings

    parameters = {} if recording.manifest is None else dict(recording.manifest.parameters)
    partitions = parameters.pop("account_partitions", None)
    if not parameters or not isinstance(partitions, int):
        return Settings()  # a file has none: the worker's configuration is not imported for it

    from pydantic import ValidationError

    from services.adapters.recordings import RecordingError
    from services.liquidator.config import EngineSection

    try:
        return EngineSection(**parameters).settings(partitions)
    except ValidationError as error:
        raise RecordingError(
            f"{recording.name}: holds engine parameters that this build does not know ({error.error_count()} of them): "
            "use the release that recorded it, or give the worker's --config"
        ) from error


def connect_with(config: Path | None) -> "Callable[[str], KafkaConnection] | None":
    """How to reach brokers that a URL names: with the credentials of a configuration, or (None) without any."""

    def configured(bootstrap: str) -> "KafkaConnection":
        from services.liquidator.config import Misconfigured, load

        try:
            return load(config, {"kafka.bootstrap": bootstrap}).kafka.connection("ringfence-recordings")
        except Misconfigured as error:
            stop(str(error), ExitCode.WRONG_USE)

    return None if config is None else configured
