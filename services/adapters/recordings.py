"""Recordings, whatever they are kept in: everything that reads events offline takes them from here.

- A folder of Parquet files with its manifest (`recordings_folder`), in the one order of `recordings_merge`.
- A range of topics still in Kafka, `kafka://…` (`recordings_kafka`), in the same order.
- JSON Lines, plain, gzip or zstd, a file, a pipe or standard input (`recordings_lines`), in the order of the file.

Memory does not grow with the length. A recording is checked before its first record is handed out: a bad one has no effect.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import IO, Final, Protocol, Self, TypeVar, runtime_checkable

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_lines import read_file, read_places, read_rows, read_stream, system_errors
from services.adapters.recordings_manifest import Manifest
from services.adapters.recordings_rows import Row, Start
from services.contracts.records import Record

__all__ = ["Recording", "RecordingError", "Start", "read_file"]

STANDARD_INPUT: Final = "-"
KAFKA: Final = "kafka://"
_CHUNK: Final = 64 * 1024

Item = TypeVar("Item")


class Source(Protocol):
    """One kind of recording."""

    @property
    def manifest(self) -> Manifest | None: ...
    @property
    def partitions(self) -> Mapping[str, int]: ...
    def check(self) -> None: ...
    def records(self) -> Iterator[Record]: ...
    def rows(self) -> Iterator[Row]: ...


@runtime_checkable
class Startable(Protocol):
    """A recording that may begin with a state."""

    def start(self) -> Start | None: ...


class Recording:
    """A recording that can be read more than once, while its block lasts: standard input, or a pipe, is kept in an unnamed temporary file.

    `connect` makes the connection for the brokers that a `kafka://` path names; without, one without credentials. Everything here raises `RecordingError`, and
    `Unreachable` where a path names brokers that do not answer.
    """

    def __init__(self, path: str, connect: Callable[[str], KafkaConnection] | None = None) -> None:
        self.name = "standard input" if path == STANDARD_INPUT else path
        self._path = path
        self._connect = connect
        self._source: Source | None = None
        self._spool: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    @property
    def manifest(self) -> Manifest | None:
        """Of a folder: where it was recorded and how; else None."""
        return self._checked().manifest

    @property
    def partitions(self) -> Mapping[str, int]:
        """The topics that it holds records of, each with a partition count that has room for all of them."""
        return self._checked().partitions

    @property
    def topics(self) -> frozenset[str]:
        """Those that it holds records of."""
        return frozenset(self.partitions)

    def check(self) -> None:
        """Read it once from end to end, or what its manifest says of it, so that nothing is done with a bad one."""
        self._checked()

    def start(self) -> Start | None:
        """The state that an engine is given before the first account record; None where a recording begins with nothing."""
        source = self._checked()
        return source.start() if isinstance(source, Startable) else None

    def records(self) -> Iterator[Record]:
        """The records in order, one at a time."""
        return self._checked().records()

    def rows(self) -> Iterator[Row]:
        """The same with what only Kafka needs to know: headers and null values."""
        return self._checked().rows()

    def _checked(self) -> Source:
        if self._source is None:
            source = self._made()
            source.check()
            self._source = source
        return self._source

    def _made(self) -> Source:
        """The imports wait until they are needed: a file is read without Arrow and without a Kafka client."""
        if self._path.startswith(KAFKA):
            from services.adapters.recordings_kafka import KafkaRange, plain_connection

            return KafkaRange(self._path, self._connect or plain_connection)
        path = Path(self._path)
        with system_errors(self.name):  # a name that is too long, a folder that may not be looked into
            is_pipe = self._path == STANDARD_INPUT or (path.exists() and not path.is_file() and not path.is_dir())
            is_folder = not is_pipe and path.is_dir()
        if is_folder:
            from services.adapters.recordings_folder import Folder

            return Folder(path)
        if not is_pipe:
            return _Lines(self.name, lambda: path.open("rb"))
        if self._spool is None:
            self._spool = _spooled(self._path, self.name)
        return _Lines(self.name, self._again)

    def _again(self) -> IO[bytes]:
        """Standard input from its beginning; closing what is given leaves the copy open."""
        assert self._spool is not None
        return open(self._spool.fileno(), "rb", closefd=False)  # a descriptor has no path


class _Lines:
    """JSON Lines that can be opened again."""

    manifest = None

    def __init__(self, name: str, opened: Callable[[], IO[bytes]]) -> None:
        self._name = name
        self._opened = opened
        self.partitions: Mapping[str, int] = {}

    def check(self) -> None:
        places = sorted(set(chain.from_iterable(self._read(read_places))))
        self.partitions = {topic: partition + 1 for topic, partition in places}  # of each topic the last one stays

    def records(self) -> Iterator[Record]:
        return chain.from_iterable(self._read(read_stream))

    def rows(self) -> Iterator[Row]:
        return chain.from_iterable(self._read(read_rows))

    def _read(self, read: Callable[[IO[bytes], str], Iterator[Item]]) -> Iterator[Iterator[Item]]:
        """The one iterator that reads it, while the stream is open: chained by the callers, so that no item passes a generator here."""
        with system_errors(self._name), self._opened() as stream:
            stream.seek(0)
            yield read(stream, self._name)


def _spooled(path: str, name: str) -> IO[bytes]:
    """The whole of standard input or of a pipe in a temporary file on disk, as it is (compressed input stays compressed)."""
    with system_errors(name), _pipe(path, name) as source:
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the recording; unnamed, so nothing is left behind
        while chunk := source.read(_CHUNK):
            spool.write(chunk)
        spool.flush()
    return spool


def _pipe(path: str, name: str) -> AbstractContextManager[IO[bytes]]:
    """Standard input stays open; it is None where the command was started without any."""
    if path != STANDARD_INPUT:
        return Path(path).open("rb")
    if sys.stdin is None:
        raise RecordingError(f"{name} is closed: give a file, or pipe a recording into it")
    return nullcontext(sys.stdin.buffer)
