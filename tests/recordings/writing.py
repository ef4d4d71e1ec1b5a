"""Messages as the records of a recording, and records as lines: what every recording made from market data shares."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import orjson
import zstandard

from services.contracts.codec import encode
from services.contracts.identifiers import partition_of
from services.contracts.messages import Account, Collateral, Fill, Instrument, Message, Price, Transfer
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS

PARTITIONS: Final = 4
TOPICS: Final[dict[type[Message], str]] = {
    Transfer: "transfers", Fill: "fills", Account: "accounts", Price: "prices", Instrument: "instruments",
    Collateral: "collateral",
}  # fmt: skip


class Missing(RuntimeError):
    """The market data is not on this machine."""


def default_data() -> Path:
    """Where the data lies beside a checkout."""
    return Path(__file__).resolve().parents[3] / "shared" / "data"


def rows_of(data: Path, name: str) -> Iterator[dict[str, str]]:
    """The rows of one gzip CSV below `data`/market. Raises `Missing`."""
    path = data / "market" / name
    if not path.is_file():
        raise Missing(f"no {name} below {data}: nothing to do")
    with gzip.open(path, "rt", newline="") as stream:
        yield from csv.DictReader(stream)


class Stamper:
    """Gives messages their topic, partition and offset, as Kafka would."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], int] = {}

    def record(self, message: Message, timestamp_ms: int) -> Record:
        """`timestamp_ms` is when the broker got it."""
        topic = TOPICS[type(message)]
        key = _key(message)
        partition = partition_of(key, PARTITIONS) if topic in ACCOUNT_TOPICS else 0
        offset = self._offsets.get((topic, partition), 0)
        self._offsets[topic, partition] = offset + 1
        return Record(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=key.encode(),
            value=encode(message),
        )


def write(path: Path, rows: Iterable[Record]) -> int:
    """Writes `rows` as JSON Lines, compressed as the name says; answers how many there were."""
    count = 0
    with _opened(path) as stream:
        for row in rows:
            stream.write(line(row))
            count += 1
    return count


def line(record: Record) -> bytes:
    """One line of a recording; the value goes in as it is."""
    head = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode(),
    }
    return orjson.dumps(head)[:-1] + b',"value":' + record.value + b"}\n"


def _key(message: Message) -> str:
    for name in ("account", "asset", "instrument"):
        found = getattr(message, name, None)
        if isinstance(found, str):
            return found
    raise AssertionError(f"a {type(message).__name__} has no key")


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".zst":
        compressed: IO[bytes] = zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=6))
        return compressed
    return io.BufferedWriter(gzip.open(path, "wb")) if path.suffix == ".gz" else path.open("wb")
