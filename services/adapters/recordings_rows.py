"""A row of a recording: all that Kafka keeps of a record, headers and null values too."""

from msgspec import Struct

from services.contracts.records import Record

Headers = tuple[tuple[str, bytes | None], ...]
Stream = tuple[str, int]  # topic without prefix, partition


class Row(Struct, frozen=True, kw_only=True):
    """`value` None is a tombstone; `timestamp_ms` the broker's."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def size(self) -> int:
        """Bytes of payload: what buffers and row groups are bounded by."""
        return len(self.key or b"") + len(self.value or b"") + sum(len(n) + len(v or b"") for n, v in self.headers)


class Start(Struct, frozen=True, kw_only=True):
    """What an engine is given before the first account record: rows of each shard, and the claim that its orders were checked against."""

    taken_ms: int
    rows: dict[int, list[tuple[str, bytes]]]
    claims: dict[int, int]

    @property
    def accounts(self) -> set[str]:
        """Those that the rows speak of."""
        return {field.partition("|")[0] for rows in self.rows.values() for field, _ in rows}


def record_of(row: Row) -> Record:
    """As the engine sees it: without headers, a null value as no bytes."""
    return Record(
        topic=row.topic, partition=row.partition, offset=row.offset, timestamp_ms=row.timestamp_ms, key=row.key,
        value=row.value or b"",
    )  # fmt: skip


def row_of(record: Record) -> Row:
    """A record of which nothing more is known."""
    return Row(
        topic=record.topic, partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp_ms,
        key=record.key, value=record.value,
    )  # fmt: skip
