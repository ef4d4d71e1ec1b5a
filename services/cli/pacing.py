"""How fast a recording goes by."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from services.cli.output import ExitCode, stop

if TYPE_CHECKING:
    from services.contracts.records import Record

LONGEST_WAIT_S: Final = 60.0  # a night without a record is not slept through


def speed_of(text: str) -> float | None:
    """`N`, or `max`: None. Ends the command on anything else."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        stop(f"--speed {text}: expected a positive number, or max", ExitCode.WRONG_USE)
    return speed


def paced(records: "Iterable[Record]", speed: float | None) -> "Iterator[Record]":
    """The records with the distances in time that they were recorded with, `speed` times as fast; None: as they come.

    What is late is not waited for, and no distance is longer than `LONGEST_WAIT_S`.
    """
    if speed is None:
        yield from records
        return
    newest_ms, due = None, time.monotonic()
    for record in records:
        if newest_ms is not None and record.timestamp_ms > newest_ms:
            due += min((record.timestamp_ms - newest_ms) / 1_000 / speed, LONGEST_WAIT_S)
            time.sleep(max(0.0, due - time.monotonic()))
        newest_ms = record.timestamp_ms if newest_ms is None else max(newest_ms, record.timestamp_ms)
        yield record
