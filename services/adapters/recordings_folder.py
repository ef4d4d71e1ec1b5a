"""A recording folder, read: checked before the first record, then merged (`recordings_merge`) in bounded memory."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from services.adapters.durable import sha256_of
from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_manifest import MANIFEST, Manifest, Part, RecordedFile, read_manifest
from services.adapters.recordings_merge import merged
from services.adapters.recordings_parquet import FileReader
from services.adapters.recordings_rows import Row, Start, Stream
from services.adapters.recordings_snapshot import read_snapshot
from services.contracts.records import Record

FILE_NAME: Final = re.compile(r"part-(\d{6})\.parquet")
OPEN_FILES: Final = 16
HOW_TO_REPAIR: Final = "take the file from a copy of the recording, or record this range again"

Item = TypeVar("Item", Row, Record)


def file_name(number: int) -> str:
    """Of the file `number`, from 1."""
    return f"part-{number:06}.parquet"


def identity_of(manifest: Manifest) -> dict[str, str]:
    """What the footer of each file says, so that files of two recordings cannot pass for one."""
    return {"format": f"{manifest.format} {manifest.version}", "cluster": manifest.cluster, "prefix": manifest.prefix}


class Folder:
    """A recording folder. Raises `RecordingError` where it is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path)
        self._open: dict[str, FileReader] = {}

    @property
    def partitions(self) -> dict[str, int]:
        """Of the topics that it holds records of."""
        return {topic: 1 + max(self.manifest.starts[topic]) for topic in self.manifest.topics()}

    def check(self) -> None:
        """Every file is there, whole and of this recording; reads all of them once."""
        if (state := self.manifest.snapshot) is not None:
            check_content(self.path / state.name, size=state.bytes, digest=state.sha256)
        for file in self.manifest.files:
            self._check_file(file)
        listed = {file.name for file in self.manifest.files}
        expected = file_name(len(self.manifest.files) + 1)  # a recorder may be about to list it
        for found in sorted(self.path.glob("*.parquet")):
            if found.name not in listed and found.name != expected:
                raise RecordingError(
                    f"{found}: is not in {MANIFEST}: one folder holds one recording; move the file out, or put its manifest back"
                )

    def _check_file(self, file: RecordedFile) -> None:
        path = self.path / file.name
        check_content(path, size=file.bytes, digest=file.sha256)
        reader = FileReader(path)
        ours, theirs = identity_of(self.manifest), reader.identity
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise RecordingError(
                    f"{path}: is of {name} {theirs.get(name)!r}, {MANIFEST} of {value!r}: "
                    "files of two recordings are mixed; give each its own folder"
                )
        if reader.group_sizes != [part.records for part in file.parts]:
            raise RecordingError(f"{path}: its row groups are not those that {MANIFEST} lists: {HOW_TO_REPAIR}")

    def start(self) -> Start | None:
        """The state that the recording begins with, if not with nothing."""
        state = self.manifest.snapshot
        return None if state is None else read_snapshot(self.path, state)

    def records(self) -> Iterator[Record]:
        """All records in the order of `recordings_merge`."""
        return self._merged(lambda reader, group, part: reader.records(group, part))

    def rows(self) -> Iterator[Row]:
        """The same with headers and null values."""
        return self._merged(lambda reader, group, part: reader.rows(group, part))

    def _merged(self, read: Callable[[FileReader, int, Part], Iterator[Item]]) -> Iterator[Item]:
        places: dict[Stream, list[tuple[str, int, Part]]] = {}
        for file in self.manifest.files:
            for group, part in enumerate(file.parts):
                places.setdefault(part.stream, []).append((file.name, group, part))
        stream = partial(self._stream, read=read)
        return merged({key: stream(found) for key, found in places.items()})

    def _stream(
        self, places: list[tuple[str, int, Part]], read: Callable[[FileReader, int, Part], Iterator[Item]]
    ) -> Iterator[Item]:
        for name, group, part in places:
            yield from read(self._reader(name), group, part)

    def _reader(self, name: str) -> FileReader:
        """The file, kept open while it is one of those used last."""
        reader = self._open.pop(name, None) or FileReader(self.path / name)
        self._open[name] = reader
        if len(self._open) > OPEN_FILES:
            del self._open[next(iter(self._open))]
        return reader


def check_content(path: Path, *, size: int, digest: str) -> None:
    """The file has the size and the SHA-256 that the manifest says. Raises `RecordingError`."""
    try:
        found = path.stat().st_size
        if found < size:
            raise RecordingError(f"{path}: is truncated: {found} bytes of {size}: {HOW_TO_REPAIR}")
        if found > size or sha256_of(path) != digest:
            raise RecordingError(f"{path}: is not what {MANIFEST} says (SHA-256 differs): {HOW_TO_REPAIR}")
    except FileNotFoundError:
        raise RecordingError(f"{path}: is missing, {MANIFEST} lists it: {HOW_TO_REPAIR}") from None
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from error
