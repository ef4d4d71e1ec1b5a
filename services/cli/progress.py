"""How far a long look through a recording is: a bar on standard error while a person watches it, and nothing else."""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.contracts.records import Record

EVERY: Final = 2_000  # records


def shown_progress(records: "Iterable[Record]", total: int | None) -> "Iterator[Record]":
    """The records, with how many went by, how fast, and what time it is in the recording. `total` None: nobody knows how many come."""
    if not sys.stderr.isatty():
        yield from records
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[at]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, at="")
        for number, record in enumerate(records, 1):
            if number % EVERY == 0:
                speed = progress.tasks[0].speed
                progress.update(task, completed=number, at=told(record.timestamp_ms, speed))
            yield record


def told(time_ms: int, speed: float | None) -> str:
    """Records a second, and the time in the recording."""
    when = datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"at {when}" if speed is None else f"{speed:,.0f}/s, at {when}"
