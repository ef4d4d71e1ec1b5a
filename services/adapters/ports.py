"""What the worker needs of the outside, as small protocols and plain values.

The worker is written against these alone, so that it also runs over a simulated Kafka, Redis and clock. Nothing here imports
a client library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from msgspec import Struct

from services.contracts.records import Record

Headers = tuple[tuple[str, bytes], ...]


class Unreachable(Exception):
    """A dependency does not answer, or answers nonsense; the text says which one and what was tried."""


class Refused(Exception):
    """Going on would break a promise (lost log, corrupt table, another's partition count); the text says what to do."""


class Corrupt(Refused):
    """What the table holds of a shard is damaged. It can be put aside, and the shard rebuilt from Kafka."""


class Clock(Protocol):
    """Time, injected so that a simulation can own it."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""

    def monotonic(self) -> float:
        """Seconds that never step back."""

    def worked(self) -> float:
        """Seconds of a processor that this process had so far."""

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""


@dataclass(frozen=True, slots=True)
class Batch:
    """All records of one partition of one account topic that one poll brought, in order.

    `start` is the offset that the log was read from and `end` the offset to read on from: offsets in between that carry no
    record (compaction, transaction markers) are covered, so consecutive batches have `end == start` and a hole is seen.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: Sequence[Record]
    traceparents: Mapping[int, bytes] = field(default_factory=dict)  # offset -> W3C trace context, of traced records


class Outgoing(Struct, frozen=True, gc=False):
    """One record to append. `partition` None leaves the choice to the key. A storm makes many of them."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """Records that share one fate: `which` they are in what was handed over, and the offset of the `first`; the others follow it."""

    which: Sequence[int]
    first: asyncio.Future[int]


class Producer(Protocol):
    """Appends, acknowledged by all in-sync replicas, in order within a partition. Lives until its first error."""

    async def start(self) -> None:
        """Connect.

        Raises:
            Unreachable: no broker answered in time.
        """

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[Sent]:
        """Hand over; where a future is an error instead of an offset, the fate of its records is unknown.

        Raises:
            Unreachable: the fate of all of them is unknown.
        """

    async def close(self) -> None:
        """Wait (bounded) until what was handed over is acknowledged, then disconnect."""

    async def abandon(self) -> None:
        """Disconnect at once: whatever was not acknowledged is unknown, and nothing more is sent."""


@dataclass(frozen=True, slots=True)
class LogRange:
    """First offset that the log still holds, and the one that the next record will get."""

    begin: int
    end: int


class Feed(NamedTuple):
    """What the last answer of the broker said about one partition: its end, and when (epoch ms) it said so."""

    end: int
    heard_ms: int


class AccountInput(Protocol):
    """The account topics of the partitions that this worker was given."""

    async def ranges(self, partition: int) -> Mapping[str, LogRange]:
        """Asked of the broker now, by account topic.

        Raises:
            Unreachable: no answer in time.
        """

    async def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Deliver from these offsets on; anything fetched before is dropped. Starts a partition that was not delivered."""

    def feed(self, topic: str, partition: int) -> Feed | None:
        """The broker's last word on a partition; None before the first."""

    async def commit(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Let the consumer group show durable progress. Never read back; failures are only logged."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A shard as the table holds it. `offsets` is None for a shard that was never stored."""

    epoch: int
    claim: int
    offsets: Mapping[str, int] | None
    rows: Sequence[tuple[str, bytes]]
    settings: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows that changed (None: delete) and the offsets that they are the fold of; they are stored together or not at all."""

    rows: Mapping[str, bytes | None]
    offsets: Mapping[str, int]
    claim: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """Stored: now, or by an earlier attempt whose answer was lost."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A newer epoch owns the shard; nothing was written."""

    stored_epoch: int


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The table does not hold the offsets that this flush builds on; nothing was written."""

    stored: Mapping[str, int]


FlushResult = Flushed | Fenced | RolledBack


class Table(Protocol):
    """The checkpoint of the shards."""

    async def load(self, partition: int) -> Stored:
        """Everything stored of a shard, each row verified.

        Raises:
            Unreachable: no answer.
            Corrupt: a row or the meta data fails its checksum.
            Refused: nothing can be verified; with another key perhaps.
        """

    async def fence(self, partition: int, epoch: int) -> FlushResult:
        """As a flush of nothing: from here on no older epoch is let in. What is damaged or was never stored has nobody to fence.

        Raises:
            Unreachable: no answer.
        """

    async def stored_offsets(self, partition: int) -> Mapping[str, int] | None:
        """Those that the stored rows are the fold of; None for a shard that was never stored.

        Raises:
            Unreachable: no answer.
            Corrupt: the meta data fail their checksum.
        """

    async def put_aside(self, partition: int) -> None:
        """Take away what cannot be verified; it is kept under another name for people. The shard is then as never stored.

        Raises:
            Unreachable: no answer.
            Refused: this login may not.
        """

    async def flush(
        self, partition: int, epoch: int, expected: Mapping[str, int] | None, snapshot: Snapshot
    ) -> FlushResult:
        """Store the snapshot if `epoch` is not older than the stored one and the stored offsets are `expected`, in one step.

        Raises:
            Unreachable: no answer; it may or may not have been stored. Repeating the same call tells.
        """


class SnapshotLog(Protocol):
    """The compacted topic of snapshots: of each key at least the newest record."""

    async def read(self, partition: int) -> Sequence[Record]:
        """All that it holds of a shard, in order.

        Raises:
            Unreachable: no answer.
        """

    async def write(self, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Append keys and values in order, each chunk acknowledged before the next is taken.

        Raises:
            Unreachable: no acknowledgement; some of them may be there.
        """


class Revocable(Protocol):
    """What the group membership tells its owner."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """These are ours now, whatever was before; nothing is delivered of one until `AccountInput.seek`."""

    def revoked(self) -> Awaitable[None]:
        """All may go: stop deciding, store. Must return within the session timeout."""


class Meter(Protocol):
    """What the worker reports of itself. Called a batch at a time, never a record."""

    def records(self, topic: str, count: int) -> None: ...
    def refused(self, reason: str) -> None: ...
    def alarm(self, name: str) -> None: ...
    def order(self, trigger: str, stage: str, seconds: float, count: int) -> None: ...
    def deficit(self, asset: str, amount: float) -> None: ...
    def evaluated(self, seconds: float, marks: int) -> None: ...
    def decided(self, seconds: float) -> None: ...
    def acked(self, seconds: float, count: int) -> None: ...
    def gate(self, partition: int, reasons: frozenset[str]) -> None: ...
    def dropped(self, partition: int) -> None: ...
    def flushed(self, partition: int, rows: int, seconds: float) -> None: ...
    def loop_gap(self, seconds: float) -> None: ...
    def loop_delay(self, seconds: float) -> None: ...
    def event(self, name: str) -> None: ...


class Logger(Protocol):
    """Structured log: an event name and fields."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...
