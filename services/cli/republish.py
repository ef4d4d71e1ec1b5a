"""`ringfence replay PATH --to kafka://…`: a recording into topics of a sandbox."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.output import ExitCode, flush_json, note, stop, watched, write_json
from services.cli.pacing import speed_of
from services.cli.recordings import connect_with, opened

if TYPE_CHECKING:
    from services.adapters.recordings import Recording
    from services.recorder.republish import Published, Target


def republish(path: str, to: str, speed: str | None, *, told_twice: bool, config: Path | None, as_json: bool) -> None:
    """Publish the recording; a signal is the clean end of it."""
    import asyncio

    from services.adapters.ports import Refused

    with opened(path, config) as recording:
        target = _target(recording, to, speed, told_twice=told_twice, config=config)
        try:
            done = asyncio.run(_published(recording, target))
        except Refused as error:
            stop(str(error), ExitCode.NO)
    if as_json:
        write_json({
            "published": done.records, "to": to, "elapsed_s": f"{done.elapsed_s:.3f}", "latest_s": f"{done.latest_s:.3f}",
            "whole": done.is_whole,
        })  # fmt: skip
        flush_json()
        return
    late = "" if target.speed is None else f", none more than {done.latest_s:.3f} s late"
    typer.echo(
        f"{done.records:,} records to {to} in {done.elapsed_s:.1f} s{late}{'' if done.is_whole else '; ended early'}"
    )


def _target(recording: "Recording", to: str, speed: str | None, *, told_twice: bool, config: Path | None) -> "Target":
    from services.adapters.recordings_kafka import parse_url, plain_connection
    from services.recorder.republish import Target, is_original

    if "?" in to:
        stop(f"--to {to}: takes no options; expected kafka://HOST:PORT/PREFIX", ExitCode.WRONG_USE)
    url = parse_url(to)
    manifest = recording.manifest
    recorded = None if manifest is None else manifest.prefix
    if is_original(url.prefix, recorded) and not told_twice:
        stop(
            f"--to {to}: these are the topics' own names, which live systems may read: give a prefix "
            "(kafka://HOST:PORT/sandbox-), or say --original-topics --yes-original-topics",
            ExitCode.WRONG_USE,
        )
    return Target(
        connection=(connect_with(config) or plain_connection)(url.bootstrap),
        prefix=url.prefix,
        speed=speed_of(speed or "1"),
    )


async def _published(recording: "Recording", target: "Target") -> "Published":
    import asyncio
    import signal

    from services.recorder.republish import Republisher

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    republisher = Republisher(target)
    await republisher.prepare(recording.partitions, note)
    return await republisher.publish(watched(recording.rows(), "records"), ended)
