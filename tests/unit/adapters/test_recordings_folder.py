"""A recording that is not whole is refused before its first record, with the file's name and a word on what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.adapters.durable import sha256_of
from services.adapters.ports import Refused
from services.adapters.recordings import Recording, RecordingError
from services.adapters.recordings_manifest import MANIFEST, read_manifest
from services.adapters.recordings_writer import existing_manifest, open_folder
from tests.support.recordings import add_all, row, write_files

FIRST = [row("fills", 0, 5), row("fills", 1, 6), row("prices", 0, 5)]
SECOND = [row("fills", 2, 7), row("prices", 1, 8)]
THIRD = [row("fills", 3, 9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "recording", FIRST, SECOND, THIRD)


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """The manifest as somebody's editor leaves it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def truncate(folder: Path) -> None:
    path = folder / "part-000002.parquet"
    path.write_bytes(path.read_bytes()[:-10])


def damage(folder: Path) -> None:
    path = folder / "part-000002.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def forge(folder: Path) -> None:
    """Another recording's file, with the manifest made to fit it."""
    other = write_files(folder.parent / "other", FIRST, SECOND, THIRD, cluster="cluster-2")
    shutil.copy(other / "part-000002.parquet", folder)
    path = folder / "part-000002.parquet"
    edited(folder, lambda m: m["files"][1].update(sha256=sha256_of(path), bytes=path.stat().st_size))


def forge_groups(folder: Path) -> None:
    edited(folder, lambda m: m["files"][1]["parts"].__setitem__(0, ["prices", 0, 1, 2, 2]))


def forge_content(folder: Path) -> None:
    """The content of another partition range under the ranges of this one."""
    edited(folder, shift)


def shift(manifest: dict[str, Any], by: int = 7) -> None:
    manifest["starts"]["fills"] = {"0": by}
    for file in manifest["files"]:
        file["parts"] = [
            [t, p, s + by, e + by, n] if t == "fills" else [t, p, s, e, n] for t, p, s, e, n in file["parts"]
        ]


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"part-000002\.parquet: is truncated: \d+ bytes of \d+: take the file from a copy"),
    "wrong checksum": (damage, r"part-000002\.parquet: is not what manifest\.json says \(SHA-256 differs\): take"),
    "missing file": (lambda f: (f / "part-000002.parquet").unlink(), r"part-000002\.parquet: is missing, manifest\.json lists it"),
    "missing range": (
        lambda f: edited(f, lambda m: m["files"].pop(1)),
        r"manifest\.json: fills\[0\] offsets 2 to 2 are missing before part-000003\.parquet: put the missing files",
    ),
    "missing start": (
        lambda f: edited(f, lambda m: m["files"].pop(0)),
        r"manifest\.json: prices\[0\] offsets 0 to 0 are missing before part-000002\.parquet",
    ),
    "repeated range": (
        lambda f: edited(f, lambda m: m["files"].append(m["files"][2])),
        r"manifest\.json: fills\[0\] offsets 3 to 3 repeat before part-000003\.parquet",
    ),
    "unknown partition": (
        lambda f: edited(f, lambda m: m["starts"].pop("prices")),
        r"manifest\.json: part-000001\.parquet holds prices\[0\], which `starts` lacks",
    ),
    "unknown format version": (
        lambda f: edited(f, lambda m: m.update(version=2)),
        r"manifest\.json: format version 2; this build reads 1: use the release that recorded it",
    ),
    "unknown schema version": (
        lambda f: edited(f, lambda m: m["schemas"].update(fills="fill.v9")),
        r"manifest\.json: topic fills holds messages of schema fill\.v9; this build reads fill\.v1: use the release",
    ),
    "another format": (lambda f: edited(f, lambda m: m.update(format="x")), r"manifest\.json: is not the manifest of a recording"),
    "no JSON": (lambda f: (f / MANIFEST).write_text("{"), r"manifest\.json: is damaged .*take the file from a copy"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), r"recording: is a folder without manifest\.json"),
    "a field of another type": (lambda f: edited(f, lambda m: m.update(files=3)), r"manifest\.json: is damaged"),
    "mixed clusters": (
        forge,
        r"part-000002\.parquet: is of cluster 'cluster-2', manifest\.json of 'cluster-1': files of two recordings are mixed",
    ),
    "a file too many": (
        lambda f: shutil.copy(f / "part-000001.parquet", f / "part-000009.parquet"),
        r"part-000009\.parquet: is not in manifest\.json: one folder holds one recording",
    ),
    "other row groups": (forge_groups, r"part-000002\.parquet: its row groups are not those that manifest\.json lists"),
    "other offsets": (forge_content, r"part-000001\.parquet: fills\[0\] offset 0 is not between 6 and 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recording_names_the_file_and_what_to_do(folder: Path, name: str) -> None:
    spoil, message = BAD[name]
    spoil(folder)
    with Recording(str(folder)) as recording, pytest.raises(RecordingError, match=message):
        next(recording.records())


def test_a_whole_recording_is_read(folder: Path) -> None:
    with Recording(str(folder)) as recording:
        found = [(r.topic, r.offset) for r in recording.records()]
    assert found == [("prices", 0), ("fills", 0), ("fills", 1), ("fills", 2), ("prices", 1), ("fills", 3)]


def test_one_file_of_a_recording_is_none(folder: Path) -> None:
    path = str(folder / "part-000001.parquet")
    with Recording(path) as recording, pytest.raises(RecordingError, match="is one Parquet file; give the folder"):
        next(recording.records())


def test_a_file_that_a_recorder_is_about_to_name_is_no_error(folder: Path) -> None:
    shutil.copy(folder / "part-000001.parquet", folder / "part-000004.parquet")
    with Recording(str(folder)) as recording:
        assert len(list(recording.records())) == 6


def test_the_manifest_says_what_the_folder_holds(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert (manifest.records, manifest.first_timestamp_ms, manifest.last_timestamp_ms) == (6, 5, 9)
    assert [(*part.stream, part.start, part.end) for part in manifest.files[1].parts] == [
        ("prices", 0, 1, 2),
        ("fills", 0, 2, 3),
    ]
    assert manifest.positions() == {("fills", 0): 4, ("prices", 0): 2}
    assert manifest.schemas == {"fills": "fill.v1", "prices": "price.v1"}


def test_what_a_crash_leaves_is_dropped(folder: Path) -> None:
    """A half-written file, and one that was renamed and not yet named: both are recorded again."""
    (folder / "part-000004.parquet").write_bytes(b"whole, but unnamed")
    (folder / "part-000005.parquet.tmp").write_bytes(b"half")
    (folder / "manifest.json.tmp").write_bytes(b"half")
    with open_folder(folder, read_manifest(folder)) as writer:
        assert not list(folder.glob("*.tmp"))
        assert writer.positions == {("fills", 0): 4, ("prices", 0): 2}
        add_all(writer, [row("fills", 4, 10)])
        writer.commit()
    with Recording(str(folder)) as recording:
        assert [r.offset for r in recording.records() if r.topic == "fills"] == [0, 1, 2, 3, 4]


def test_what_is_not_committed_leaves_nothing(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with open_folder(folder, read_manifest(folder)) as writer:
        add_all(writer, [row("fills", 4, 10)])
        writer.spill()
        assert writer.file_bytes > 0
    assert sorted(path.name for path in folder.iterdir()) == before


def test_one_folder_has_one_recorder(folder: Path) -> None:
    with open_folder(folder, read_manifest(folder)), pytest.raises(Refused, match="another recorder writes here"):
        open_folder(folder, read_manifest(folder))


def test_a_recorder_that_was_overtaken_begins_again(folder: Path) -> None:
    read_before = read_manifest(folder)
    with open_folder(folder, read_before) as writer:
        add_all(writer, [row("fills", 4, 10)])
        writer.commit()
    with pytest.raises(Refused, match="another recorder wrote here meanwhile"):
        open_folder(folder, read_before)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Refused, match=r"is not empty \(notes\.txt\) and holds no recording"):
        existing_manifest(tmp_path)
    assert existing_manifest(tmp_path / "new") is None
