"""`ringfence record`: topics into a recording folder."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.output import ExitCode, flush_json, note, stop, write_json
from services.cli.topics import ConfigFile

if TYPE_CHECKING:
    from services.adapters.kafka_range import Place
    from services.adapters.recordings_manifest import Manifest, RecordedFile
    from services.liquidator.config import Config
    from services.recorder.record import Outcome, Request, Snapshot
    from services.recorder.recorder import Limits, Progress


def record(  # noqa: PLR0917  # typer reads options, not positions
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The recording's folder; one that exists is gone on with.")
    ],
    config: ConfigFile = None,
    topics: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Without prefix. Default: all of the catalogue.", show_default=False),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="WHERE", help="earliest, latest, a time, or a JSON file {topic: {partition: offset}}."
        ),
    ] = "earliest",
    end: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="WHEN", help="now, or a time. Default: live, until it is stopped.", show_default=False
        ),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Begin with the tables in Redis, and the account topics from there.")
    ] = False,
    max_file_mb: Annotated[float, typer.Option(min=0.001, help="Begin a new file at about this size.")] = 64,
    max_file_s: Annotated[
        float, typer.Option(min=0.1, help="Begin a new file this long after the first record.")
    ] = 900,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a file, then a summary; nothing else on standard output.")
    ] = False,
) -> None:
    """Record topics into a folder that `ringfence replay` reads: live until SIGTERM or Ctrl-C, or the past up to --to.

    Reads without a consumer group, so no worker notices. After a crash the same command goes on without a gap or a repeat.
    A replay needs everything from the beginning, or a recording that began with --snapshot. Times are epoch milliseconds or like 2025-10-10T21:15:00Z.

    Example: ringfence record --config ringfence.toml --out incident --to 2025-10-10T22:00:00Z
    """  # fmt: skip
    import asyncio

    from services.adapters.ports import Refused, Unreachable
    from services.adapters.recordings_errors import RecordingError
    from services.liquidator.config import Misconfigured, load
    from services.recorder.recorder import Limits

    if snapshot and start != "earliest":
        stop("--snapshot says where to begin: leave --from out", ExitCode.WRONG_USE)
    limits = Limits(max_file_bytes=int(max_file_mb * 1024 * 1024), max_file_s=max_file_s)
    try:
        loaded = load(config)
        request = _request(loaded, limits, out=out, topics=topics, start=start, end=end, snapshot=snapshot)
        outcome = asyncio.run(_recorded(request, as_json=as_json))
    except (Misconfigured, RecordingError) as error:
        stop(str(error), ExitCode.WRONG_USE)
    except Unreachable as error:
        stop(str(error), ExitCode.UNREACHABLE)
    except Refused as error:
        stop(str(error), ExitCode.NO)
    _tell(outcome, out, as_json=as_json)


def _request(
    config: "Config", limits: "Limits", *, out: Path, topics: str | None, start: str, end: str | None, snapshot: bool
) -> "Request":
    from services.adapters.kafka_range import EARLIEST, LATEST, NOW
    from services.engine.settings import settings_id
    from services.recorder.record import Request

    return Request(
        connection=config.kafka.connection("ringfence-record"),
        prefix=config.kafka.topic_prefix,
        folder=out,
        topics=None if topics is None else tuple(name for name in topics.split(",") if name),
        start=_place("--from", start, (EARLIEST, LATEST)),
        end=None if end is None else _place("--to", end, (NOW,)),
        limits=limits,
        snapshot=_tables(config) if snapshot else None,
        settings=lambda partitions: settings_id(config.engine.settings(partitions)),
        parameters=config.engine.model_dump(mode="json"),
    )


def _tables(config: "Config") -> "Snapshot":
    """The tables, read only: nothing is installed, and nobody's epoch changes."""
    from services.adapters.ports import Stored
    from services.adapters.redis_reader import reading
    from services.adapters.redis_table import RedisTable
    from services.engine.settings import Settings
    from services.liquidator.build import redis_client, table_settings
    from services.recorder.record import Snapshot

    async def load(partition: int) -> Stored:
        client = redis_client(config)
        async with reading(client):
            return await RedisTable(client, table_settings(config, Settings())).load(partition)

    return Snapshot(load=load, price_look_back_ms=config.worker.price_look_back_ms)


def _place(flag: str, text: str, words: tuple[str, ...]) -> "Place":
    """What the text of a flag says; of a file, the offsets in it."""
    import msgspec

    from services.adapters.kafka_range import NoPlace, Place, parse_place

    path = Path(text)
    if flag == "--from" and path.is_file():
        try:
            offsets = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[int, int]])
        except (msgspec.DecodeError, OSError) as error:
            stop(f"--from {text}: {error}; expected {{topic: {{partition: offset}}}}", ExitCode.WRONG_USE)
        return Place(offsets=offsets)
    try:
        return parse_place(text, words)
    except NoPlace as error:
        stop(f"{flag} {error}", ExitCode.WRONG_USE)


async def _recorded(request: "Request", *, as_json: bool) -> "Outcome":
    """The whole run, told to a person (or a program) while it lasts; a signal is the clean end."""
    import asyncio
    import signal

    from rich.console import Console

    from services.recorder.record import Told, record

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    console = Console(stderr=True)
    shown: AbstractContextManager[Any] = console.status("recording …") if console.is_terminal else nullcontext()
    with shown as status:

        def progress(done: "Progress") -> None:
            if status is not None:
                behind = "" if done.behind is None else f", {done.behind:,} behind"
                status.update(f"{done.records:,} records, {done.held:,} of them not in a file yet{behind} …")

        def file(made: "RecordedFile") -> None:
            note(f"{made.name}: {made.records:,} records, {made.bytes:,} bytes")
            if as_json:
                write_json({"file": made.name, "records": made.records, "bytes": made.bytes, "sha256": made.sha256})
                flush_json()

        return await record(request, Told(note=note, file=file, progress=progress), ended)


def _begun_late(manifest: "Manifest") -> list[str]:
    """The topics whose first records are missing, of those that a replay cannot do without."""
    from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS

    needed = {*ACCOUNT_TOPICS, *BROADCAST_TOPICS} - {"prices", "controls"}
    if manifest.snapshot is not None:
        return []
    return [topic for topic, starts in manifest.starts.items() if topic in needed and any(starts.values())]


def _tell(outcome: "Outcome", out: Path, *, as_json: bool) -> None:
    manifest = outcome.manifest
    if late := _begun_late(manifest):
        note(
            f"{out}: begins in the middle of {', '.join(late)}: a replay knows nothing of before; "
            "leave --from out, or begin with --snapshot before the next incident"
        )
    if as_json:
        write_json({
            "recording": str(out), "cluster": manifest.cluster, "files": len(manifest.files), "records": manifest.records,
            "bytes": sum(file.bytes for file in manifest.files), "first_timestamp_ms": manifest.first_timestamp_ms,
            "last_timestamp_ms": manifest.last_timestamp_ms, "end_reached": outcome.is_reached,
        })  # fmt: skip
        flush_json()
        return
    typer.echo(
        f"{out}: {manifest.records:,} records in {len(manifest.files)} files; look at them with `ringfence replay {out}`"
    )
