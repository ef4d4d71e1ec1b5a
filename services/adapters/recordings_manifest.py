"""`manifest.json`: what a recording folder holds. A file that it does not list is not part of the recording.

Offsets are ranges [start, end): read from `start`, read on from `end`; offsets in between that carry no record (compaction,
transaction markers) are covered. So the ranges of a partition join, from `starts` through all files, or something is missing.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from services.adapters.durable import write_whole
from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_rows import Stream
from services.contracts.schemas import VERSION as SCHEMA_VERSION
from services.contracts.topics import BY_NAME, SHADOW_TOPIC

MANIFEST: Final = "manifest.json"
FORMAT: Final = "ringfence-recording"
FORMAT_VERSION: Final = 1


class Part(Struct, frozen=True, array_like=True):
    """One row group: records of one partition, in the order of their offsets."""

    topic: str
    partition: int
    start: int
    end: int
    records: int

    @property
    def stream(self) -> Stream:
        return self.topic, self.partition


class RecordedFile(Struct, frozen=True, kw_only=True):
    """One file; `parts` are its row groups in their order."""

    name: str
    sha256: str
    bytes: int
    records: int
    first_timestamp_ms: int
    last_timestamp_ms: int
    parts: list[Part]


class StartShard(Struct, frozen=True, kw_only=True):
    """A shard of the snapshot: its rows are the fold of the account topics up to `offsets` (the next to read)."""

    offsets: dict[str, int]
    epoch: int
    claim: int
    settings: str
    rows: int


class StartState(Struct, frozen=True, kw_only=True):
    """The snapshot that the recording begins with: the tables' rows at `taken_ms`, by partition of the account topics."""

    name: str
    sha256: str
    bytes: int
    taken_ms: int
    shards: dict[int, StartShard]


class Manifest(Struct, frozen=True, kw_only=True):
    """`starts`: topic -> partition -> first offset. `parameters`: the engine's section of the configuration, `settings` its id."""

    format: str = FORMAT
    version: int = FORMAT_VERSION
    cluster: str
    prefix: str
    schemas: dict[str, str | None]
    starts: dict[str, dict[int, int]]
    settings: str | None = None
    parameters: dict[str, Any] = {}
    first_timestamp_ms: int | None = None
    last_timestamp_ms: int | None = None
    records: int = 0
    snapshot: StartState | None = None
    files: list[RecordedFile] = []

    def positions(self) -> dict[Stream, int]:
        """Where the recording goes on, by stream."""
        found = {(topic, partition): at for topic, starts in self.starts.items() for partition, at in starts.items()}
        for file in self.files:
            found |= {part.stream: part.end for part in file.parts}
        return found

    def topics(self) -> set[str]:
        """Those that it holds records of."""
        return {part.topic for file in self.files for part in file.parts}

    def with_file(self, file: RecordedFile) -> "Manifest":
        """The manifest once the file is there."""
        firsts = [at for at in (self.first_timestamp_ms, file.first_timestamp_ms) if at is not None]
        lasts = [at for at in (self.last_timestamp_ms, file.last_timestamp_ms) if at is not None]
        return msgspec.structs.replace(
            self, files=[*self.files, file], records=self.records + file.records,
            first_timestamp_ms=min(firsts), last_timestamp_ms=max(lasts),
        )  # fmt: skip


class _Head(Struct):
    format: str = ""
    version: int = 0


def schema_version(topic: str) -> str | None:
    """The version of the messages in a topic that this build reads and writes; None: the topic carries none of ours."""
    known = SHADOW_TOPIC if topic == SHADOW_TOPIC.name else BY_NAME.get(topic)
    return None if known is None or known.schema is None else f"{known.schema}.{SCHEMA_VERSION}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """In the place of the old one, whole or not at all."""
    raw = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    write_whole(folder / MANIFEST, raw + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, its own claims checked: format, schema versions, ranges. Raises `RecordingError`."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecordingError(
            f"{folder}: is a folder without {MANIFEST}; expected a recording: give the folder that `ringfence record --out` wrote"
        ) from None
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from error
    manifest = _decoded(path, raw)
    _check_schemas(path, manifest)
    check_ranges(path, manifest)
    return manifest


def _decoded(path: Path, raw: bytes) -> Manifest:
    try:
        head = msgspec.json.decode(raw, type=_Head)
    except msgspec.DecodeError as error:
        raise RecordingError(f"{path}: is damaged ({error}): take the file from a copy of the recording") from error
    if head.format != FORMAT:
        raise RecordingError(f"{path}: is not the manifest of a recording (format {head.format!r}, not {FORMAT!r})")
    if head.version != FORMAT_VERSION:
        raise RecordingError(
            f"{path}: format version {head.version}; this build reads {FORMAT_VERSION}: use the release that recorded it"
        )
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise RecordingError(f"{path}: is damaged ({error}): take the file from a copy of the recording") from error


def _check_schemas(path: Path, manifest: Manifest) -> None:
    for topic, recorded in manifest.schemas.items():
        ours = schema_version(topic)
        if ours is not None and recorded != ours:
            raise RecordingError(
                f"{path}: topic {topic} holds messages of schema {recorded}; this build reads {ours}: "
                "use the release that recorded it"
            )


def check_ranges(path: Path, manifest: Manifest) -> None:
    """Every range begins where the one before it ended. Raises `RecordingError`."""
    reached = {(topic, number): at for topic, starts in manifest.starts.items() for number, at in starts.items()}
    for file in manifest.files:
        for part in file.parts:
            if part.stream not in reached:
                raise RecordingError(f"{path}: {file.name} holds {part.topic}[{part.partition}], which `starts` lacks")
            before = reached[part.stream]
            if part.start != before:
                what, low, high = (
                    ("are missing", before, part.start) if before < part.start else ("repeat", part.start, before)
                )
                raise RecordingError(
                    f"{path}: {part.topic}[{part.partition}] offsets {low} to {high - 1} {what} before {file.name}: "
                    "put the missing files and their manifest back, or record this range again"
                )
            reached[part.stream] = part.end
