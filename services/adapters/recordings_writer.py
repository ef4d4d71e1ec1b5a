"""A recording folder, written: files appear whole, the manifest names them afterwards, and a crash loses nothing that it names.

What was added and not yet committed is still in Kafka: after a crash `positions` of the manifest say where to read on. A
temporary file, and a file that the manifest does not name yet, are leftovers of a crash and are dropped.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from services.adapters.durable import TEMPORARY, publish, sha256_of
from services.adapters.ports import Refused
from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_folder import FILE_NAME, file_name, identity_of
from services.adapters.recordings_manifest import MANIFEST, Manifest, Part, RecordedFile, read_manifest, write_manifest
from services.adapters.recordings_merge import stream_rank
from services.adapters.recordings_parquet import FileWriter, groups
from services.adapters.recordings_rows import Row, Stream
from services.adapters.recordings_snapshot import FOLDER as SNAPSHOT_FOLDER

SPILL_BYTES: Final = 16 * 1024 * 1024  # rows held before they are put into the temporary file
LOCK: Final = ".lock"


class FolderWriter:
    """The one writer of a folder, while its block lasts. Made by `open_folder`."""

    def __init__(self, folder: Path, lock: int, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.positions = manifest.positions()  # where each stream goes on, what is not committed yet included
        self._lock = lock
        self._written = dict(self.positions)
        self._clear()

    def _clear(self) -> None:
        self._file: FileWriter | None = None
        self._parts: list[Part] = []
        self._held: dict[Stream, list[Row]] = {}
        self._held_bytes = 0
        self._times: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.abandon()
            self._temporary.unlink(missing_ok=True)
        os.close(self._lock)

    @property
    def _temporary(self) -> Path:
        return self.folder / (file_name(len(self.manifest.files) + 1) + TEMPORARY)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be committed."""
        return self._file is None and not self._held

    @property
    def file_bytes(self) -> int:
        """Size of the file that is being written; what is still held does not count."""
        return 0 if self._file is None else self._file.size

    def add(self, stream: Stream, rows: Sequence[Row]) -> None:
        """Rows of one partition, in the order of their offsets, from its position on."""
        if not rows:
            return
        assert rows[0].offset >= self.positions[stream], "nothing is recorded twice"
        self.positions[stream] = rows[-1].offset + 1
        self._held.setdefault(stream, []).extend(rows)
        self._held_bytes += sum(row.size for row in rows)

    @property
    def held_bytes(self) -> int:
        """Payload that is not in the temporary file yet."""
        return self._held_bytes

    def spill(self) -> None:
        """Put what is held into the temporary file. Raises `Refused` where the disk does not take it."""
        with _disk_errors(self.folder):
            self._spill()

    def _spill(self) -> None:
        if not self._held:
            return
        if self._file is None:
            self._file = FileWriter(self._temporary, identity_of(self.manifest))
        for stream in sorted(self._held, key=stream_rank):
            for rows in groups(self._held[stream]):
                self._file.write(rows)
                end = rows[-1].offset + 1
                self._parts.append(Part(*stream, start=self._written[stream], end=end, records=len(rows)))
                self._written[stream] = end
                times = [row.timestamp_ms for row in rows]
                self._times = [min(times + self._times[:1]), max(times + self._times[1:])]
        self._held, self._held_bytes = {}, 0

    def commit(self) -> RecordedFile | None:
        """Everything added so far appears as one file, which the manifest then names. None: there was nothing.

        Raises:
            Refused: the disk does not take it; what was committed before stays.
        """
        with _disk_errors(self.folder):
            return self._commit()

    def _commit(self) -> RecordedFile | None:
        self._spill()
        if self._file is None:
            return None
        self._file.close()
        temporary, path = self._temporary, self.folder / file_name(len(self.manifest.files) + 1)
        file = RecordedFile(
            name=path.name, sha256=sha256_of(temporary), bytes=temporary.stat().st_size, parts=self._parts,
            records=sum(part.records for part in self._parts), first_timestamp_ms=self._times[0],
            last_timestamp_ms=self._times[1],
        )  # fmt: skip
        publish(temporary, path)
        self.manifest = self.manifest.with_file(file)
        write_manifest(self.folder, self.manifest)
        self._clear()
        return file


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            f"{folder}: cannot be written: {error.strerror or error}: nothing that was recorded before is lost"
        ) from error


def existing_manifest(folder: Path) -> Manifest | None:
    """Of the recording that the folder holds, if it holds one.

    Raises:
        Refused: the folder holds something else.
        RecordingError: its manifest is damaged or of another version.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise Refused(f"{folder}: is not a folder")
    if (folder / MANIFEST).exists():
        return read_manifest(folder)
    left = [
        path.name
        for path in folder.iterdir()
        if path.name not in (LOCK, SNAPSHOT_FOLDER) and not path.name.endswith(TEMPORARY)
    ]
    if left:
        raise Refused(f"{folder}: is not empty ({min(left)}) and holds no recording: give a new folder")
    return None


def open_folder(folder: Path, manifest: Manifest) -> FolderWriter:
    """The writer that goes on after `manifest`: that of the folder with what was added to it, or of a new recording.

    Raises:
        Refused: another recorder writes here, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Refused(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _moved_on(folder, manifest):
            os.close(lock)
            raise Refused(f"{folder}: another recorder wrote here meanwhile: run this again")
        _drop_leftovers(folder, manifest)
        write_manifest(folder, manifest)
    except BlockingIOError:
        os.close(lock)
        raise Refused(f"{folder}: another recorder writes here: give another folder, or end it") from None
    except OSError as error:
        os.close(lock)
        raise Refused(f"{folder}: cannot be written: {error.strerror}") from error
    return FolderWriter(folder, lock, manifest)


def _moved_on(folder: Path, manifest: Manifest) -> bool:
    """Whether somebody else wrote between the reading of `manifest` and the lock."""
    now = existing_manifest(folder)
    return now is not None and [file.name for file in now.files] != [file.name for file in manifest.files]


def _drop_leftovers(folder: Path, manifest: Manifest) -> None:
    """What a crash left: temporary files, and the file that was renamed and not yet named."""
    unnamed = file_name(len(manifest.files) + 1)
    for path in folder.iterdir():
        if path.name == unnamed or path.name.endswith(TEMPORARY):
            path.unlink()
        elif FILE_NAME.fullmatch(path.name) and path.name not in {file.name for file in manifest.files}:
            raise RecordingError(f"{path}: is not in {MANIFEST}: move it out, one folder holds one recording")


def write_recording(
    folder: Path, manifest: Manifest, rows: Iterable[Row], *, max_file_bytes: int = 64 * 1024 * 1024
) -> None:
    """A whole recording from rows that are at hand; of each partition in the order of its offsets."""
    with open_folder(folder, manifest) as writer:
        for row in rows:
            writer.add((row.topic, row.partition), [row])
            if writer.held_bytes >= min(SPILL_BYTES, max_file_bytes):
                writer.spill()
            if writer.file_bytes >= max_file_bytes:
                writer.commit()
        writer.commit()
