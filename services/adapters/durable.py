"""Files that appear whole or not at all, also when the machine stops."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".tmp"
_CHUNK: Final = 1024 * 1024


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file: temporary file, fsync, rename, fsync of the folder."""
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def publish(temporary: Path, path: Path) -> None:
    """Let a file that was written under another name appear under its own."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was renamed in the folder stays renamed."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """SHA-256 of the file, lower-case hex. Raises `OSError`."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
