"""Small recordings for tests, and how two of them are compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from services.adapters.recordings_manifest import Manifest, schema_version
from services.adapters.recordings_merge import stream_rank
from services.adapters.recordings_rows import Headers, Row, Stream
from services.adapters.recordings_writer import FolderWriter, open_folder

CLUSTER = "cluster-1"


def row(
    topic: str, offset: int, time_ms: int = 0, *, partition: int = 0, key: bytes | None = b"k",
    value: bytes | None = b"{}", headers: Headers = (),
) -> Row:  # fmt: skip
    return Row(
        topic=topic, partition=partition, offset=offset, timestamp_ms=time_ms, key=key, value=value, headers=headers
    )


def manifest_for(rows: Iterable[Row], *, cluster: str = CLUSTER, prefix: str = "") -> Manifest:
    """Of a recording that begins at offset 0 of every partition that has rows."""
    streams = {(each.topic, each.partition) for each in rows}
    topics = sorted({topic for topic, _ in streams})
    return Manifest(
        cluster=cluster, prefix=prefix, schemas={topic: schema_version(topic) for topic in topics},
        starts={topic: {number: 0 for name, number in sorted(streams) if name == topic} for topic in topics},
    )  # fmt: skip


def write_files(folder: Path, *files: Sequence[Row], cluster: str = CLUSTER, prefix: str = "") -> Path:
    """A recording with these files."""
    everything = [each for file in files for each in file]
    with open_folder(folder, manifest_for(everything, cluster=cluster, prefix=prefix)) as writer:
        for file in files:
            add_all(writer, file)
            writer.commit()
    return folder


def add_all(writer: FolderWriter, rows: Iterable[Row]) -> None:
    """Rows as a poll brings them: by partition."""
    found: dict[Stream, list[Row]] = {}
    for each in rows:
        found.setdefault((each.topic, each.partition), []).append(each)
    for stream, some in found.items():
        writer.add(stream, some)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """The order of a recording as its documentation says it, by sorting everything."""
    latest: dict[Stream, int] = {}
    keyed = []
    for each in sorted(rows, key=lambda found: (found.topic, found.partition, found.offset)):
        stream = (each.topic, each.partition)
        latest[stream] = max(latest.get(stream, 0), each.timestamp_ms)
        keyed.append(((latest[stream], stream_rank(stream), each.offset), each))
    return [each for _, each in sorted(keyed, key=lambda pair: pair[0])]
