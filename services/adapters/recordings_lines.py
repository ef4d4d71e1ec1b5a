"""A recording as JSON Lines: a file, plain or compressed (gzip, zstd), or a stream.

A line is `{"topic","partition","offset","timestamp_ms","key","value","headers"}`. `topic` and `value` are required. In a
hand-written file `partition` may be missing (0), `offset` (counted per topic and partition), `timestamp_ms` (the value's own
`ts_ms`, else 0), `key` and `headers` (`[[name, text], …]`). A `value` that is a JSON object is handed on byte for byte; one that
is a string holds the raw text of a record that may not be JSON at all: such input must reach the engine to be refused there.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Any, Final, Protocol, TypeVar

import msgspec
import zstandard
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_rows import Row, Stream, row_of
from services.contracts.messages import LAST_TS_MS
from services.contracts.records import Record

MAX_LINE: Final = 4 * 1024 * 1024  # a record is at most 64 KiB; refused ones may be larger
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_CHUNK: Final = 64 * 1024
# Four bytes of zstd may stand for 128 KiB, and a decompressor gives all that a piece holds at once: small pieces bound memory.
_PACKED_CHUNK: Final = 2 * 1024

_Place = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Time = Annotated[int, Meta(ge=0, le=LAST_TS_MS)]


class _Line(Struct):
    topic: str
    value: Raw
    partition: _Place | None = None
    offset: _Place | None = None
    timestamp_ms: _Time | None = None
    key: str | None = None
    headers: list[tuple[str, str]] | None = None


class _Timed(Struct):
    ts_ms: Any | UnsetType = UNSET


class _Decompressor(Protocol):
    """What gzip and zstd share: one member (frame) from its first byte until `eof`; what follows is `unused_data`."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes) -> bytes: ...


Item = TypeVar("Item")
QUOTE: Final = ord('"')
_decode: Final = msgspec.json.Decoder(_Line).decode
_times: Final = msgspec.json.Decoder(_Timed)


def read_file(path: str) -> Iterator[Record]:
    """The records of the file at `path`, streaming. Raises `RecordingError`."""
    with system_errors(path), Path(path).open("rb") as stream:
        yield from read_stream(stream, path)


def read_stream(stream: IO[bytes], name: str) -> Iterator[Record]:
    """The records of an open binary stream; `name` is what errors call it. Raises `RecordingError`."""
    return chain.from_iterable(_parsed(stream, name, _record))


def read_rows(stream: IO[bytes], name: str) -> Iterator[Row]:
    """The same with headers."""
    return chain.from_iterable(_parsed(stream, name, _row))


def read_places(stream: IO[bytes], name: str) -> Iterator[Stream]:
    """Topic and partition of each record, for a look whether all of them can be read."""
    return chain.from_iterable(_parsed(stream, name, _place))


def _parsed(stream: IO[bytes], name: str, made: Callable[[_Line, dict[Stream, int]], Item]) -> Iterator[list[Item]]:
    """What each piece of the stream holds; of one with a bad line, what stands before it."""
    counted: dict[Stream, int] = {}
    number = 0
    for lines in _split(_plain(stream, name), name):
        found = []
        try:
            for line in lines:
                number += 1
                if line and not line.isspace():
                    found.append(made(_decode(line), counted))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield found
            raise RecordingError(f"{name}:{number}: {error}: mend the line, or take the file from a copy") from error
        yield found


def _record(decoded: _Line, counted: dict[Stream, int]) -> Record:
    topic, partition, offset, time_ms, key = (
        decoded.topic, decoded.partition or 0, decoded.offset, decoded.timestamp_ms, decoded.key,
    )  # fmt: skip
    value = bytes(decoded.value)
    if value.startswith(b'"'):
        value = _text(value)
    place = (topic, partition)
    if offset is None:
        offset = counted.get(place, 0)
    counted[place] = offset + 1
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=_own_time(value) if time_ms is None else time_ms,
        key=None if key is None else key.encode(),
        value=value,
    )


def _row(decoded: _Line, counted: dict[Stream, int]) -> Row:
    row, headers = row_of(_record(decoded, counted)), decoded.headers
    return structs.replace(row, headers=tuple((key, text.encode()) for key, text in headers)) if headers else row


def _place(decoded: _Line, _: dict[Stream, int]) -> Stream:
    if memoryview(decoded.value)[0] == QUOTE:
        _text(bytes(decoded.value))
    return decoded.topic, decoded.partition or 0


def _text(raw: bytes) -> bytes:
    """The record's bytes, where they stand in a string."""
    return msgspec.json.decode(raw, type=str).encode()


def _own_time(value: bytes) -> int:
    """`ts_ms` of the value, or 0 where it has none that can be a time."""
    try:
        ts_ms = _times.decode(value).ts_ms
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return ts_ms if type(ts_ms) is int and 0 <= ts_ms <= LAST_TS_MS else 0


def _split(chunks: Iterator[bytes], name: str) -> Iterator[list[bytes]]:
    """The lines that end in each piece, without their end; the last one need not have any."""
    rest, number = b"", 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
        number += len(lines)
        if len(rest) > MAX_LINE:
            raise RecordingError(f"{name}:{number + 1}: the line is longer than {MAX_LINE} bytes")
    if rest:
        yield [rest]


def _plain(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """The uncompressed content, piece by piece; what it is compressed with is told by its first bytes."""
    head = stream.read(len(_ZSTD))
    if head.startswith(_GZIP):
        yield from _unpacked(stream, head, name, "gzip")
    elif head == _PARQUET:
        raise RecordingError(f"{name}: is one Parquet file; give the folder that holds it and its manifest.json")
    elif head == _ZSTD:
        yield from _unpacked(stream, head, name, "zstd")
    else:
        yield head
        while chunk := stream.read(_CHUNK):
            yield chunk


def _unpacked(stream: IO[bytes], head: bytes, name: str, kind: str) -> Iterator[bytes]:
    unpack, data = _decompressor(kind), head
    try:
        while data:
            while data:
                if unpack.eof:
                    unpack = _decompressor(kind)
                yield unpack.decompress(data)
                data = unpack.unused_data if unpack.eof else b""
            data = stream.read(_PACKED_CHUNK)
    except (zlib.error, zstandard.ZstdError) as error:
        raise RecordingError(f"{name}: broken {kind} data: {error}: take the file from a copy") from error
    if not unpack.eof:
        raise RecordingError(f"{name}: the {kind} data ends too early: the file is truncated: take it from a copy")


def _decompressor(kind: str) -> _Decompressor:
    if kind == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


@contextmanager
def system_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordingError(f"{name}: {error.strerror or error}") from error
