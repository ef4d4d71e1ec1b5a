"""A Kafka record as the engine and the recordings see it: bytes with their place and time."""

from msgspec import Struct


class Record(Struct, frozen=True, kw_only=True):
    """`timestamp_ms` is the broker's; `value` the untouched bytes."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
