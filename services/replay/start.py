"""A recording that begins with a state: the rows of the tables go into the engine when the account topics begin.

Before that only reference data and prices are read, and no account is there to decide about, so no old price can liquidate.
"""

from typing import Protocol, runtime_checkable

import msgspec

from services.adapters.recordings import RecordingError, Start
from services.contracts.journal import known_claim
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from services.replay.engines import ReplayEngine


@runtime_checkable
class Restorable(Protocol):
    """An engine that can take over stored rows."""

    def restore(self, partition: int, rows: list[tuple[str, bytes]]) -> None: ...


def begins_now(start: Start, record: Record) -> bool:
    """Whether the state must be there before this record."""
    return record.topic in ACCOUNT_TOPICS or record.timestamp_ms >= start.taken_ms


def restore(engine: ReplayEngine, start: Start) -> None:
    """Give the engine the rows, and the claims that their orders were checked against. Raises `RecordingError`."""
    if not isinstance(engine, Restorable):
        raise RecordingError(
            "the recording begins with a snapshot, which only --engine fast and full-scan can take over"
        )
    for partition, rows in start.rows.items():
        try:
            engine.restore(partition, rows)
        except (msgspec.DecodeError, ValueError) as error:
            raise RecordingError(f"the snapshot of partition {partition} is of another release: {error}") from error
        if start.claims[partition] >= 0:
            engine.apply(known_claim(partition, start.claims[partition]))
