"""A recording that begins with a snapshot ends like the whole one: same effects from there on, same state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.adapters.ports import Stored
from services.adapters.recordings import Recording
from services.adapters.recordings_manifest import Manifest, schema_version
from services.adapters.recordings_rows import row_of
from services.adapters.recordings_snapshot import NAME, write_snapshot
from services.adapters.recordings_writer import open_folder
from services.cli.main import app
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.script.tape import START_MS, Tape

SPLIT_MS = START_MS + 2_050


def history() -> Tape:
    """A long that is fine until the second half, in which a deposit comes and the mark falls all the same."""
    tape = Tape().long().mark("1000").wait(500).mark("990").wait(400).mark("980").wait(200)
    tape.mark("960").wait(300).deposit("1").wait(300).mark("909").wait(200).mark("908.9").wait(500).mark("908")
    return tape


def replayed(path: Path | str, *flags: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["replay", str(path), "--json", "--matching", "next", *flags])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def begun_with_a_snapshot(folder: Path, records: list[Record]) -> Path:
    """What `record --snapshot` leaves: rows of the first half, the account topics of the second, the rest whole."""
    first = [record for record in records if record.timestamp_ms < SPLIT_MS]
    engine = Engine(Settings())
    engine.apply_batch(first)
    rows = [(field, row) for field, row in engine.take_dirty(0).items() if row is not None]
    topics = {record.topic for record in records}
    offsets = {topic: sum(1 for record in first if record.topic == topic) for topic in ACCOUNT_TOPICS}
    state = write_snapshot(folder, SPLIT_MS, {0: Stored(epoch=-1, claim=-1, offsets=offsets, rows=rows, settings="")})
    manifest = Manifest(
        cluster="c", prefix="", schemas={topic: schema_version(topic) for topic in topics},
        starts={topic: {0: offsets.get(topic, 0)} for topic in topics}, snapshot=state,
    )  # fmt: skip
    with open_folder(folder, manifest) as writer:
        for record in records:
            if record.topic in BROADCAST_TOPICS or record.offset >= offsets[record.topic]:
                writer.add((record.topic, record.partition), [row_of(record)])
        writer.commit()
    return folder


@pytest.fixture
def recordings(tmp_path: Path) -> tuple[Path, Path]:
    """The whole one, and the one that begins in the middle."""
    whole = tmp_path / "whole.jsonl"
    whole.write_text(history().text())
    with Recording(str(whole)) as recording:
        records = list(recording.records())
    return whole, begun_with_a_snapshot(tmp_path / "begun", records)


def test_the_second_half_is_decided_as_in_the_whole(recordings: tuple[Path, Path]) -> None:
    whole, begun = (replayed(path) for path in recordings)
    effects = [line for line in whole[:-1] if line["ts_ms"] >= SPLIT_MS]
    assert [line["effect"] for line in effects].count("liquidation-order") == 1

    def plain(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Without what speaks of offsets that only one of them was told."""
        return [{key: value for key, value in line.items() if key not in ("cause", "evidence")} for line in lines]

    assert plain(begun[:-1]) == plain(effects)
    assert begun[-1]["state_hash"] == whole[-1]["state_hash"]
    assert begun[-1]["records"] < whole[-1]["records"]


def test_margin_is_that_of_the_whole(recordings: tuple[Path, Path]) -> None:
    whole, begun = (CliRunner().invoke(app, ["margin", str(path), "--json"]) for path in recordings)
    assert (begun.exit_code, begun.stderr) == (0, "")
    assert begun.stdout == whole.stdout != ""


def test_the_reference_cannot_begin_with_rows(recordings: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(app, ["replay", str(recordings[1]), "--json", "--engine", "reference"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "begins with a snapshot, which only --engine fast and full-scan can take over" in done.stderr


def test_a_damaged_snapshot_is_refused(recordings: tuple[Path, Path]) -> None:
    path = recordings[1] / NAME
    path.write_bytes(path.read_bytes()[:-1])
    done = CliRunner().invoke(app, ["replay", str(recordings[1]), "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{path}: is truncated" in done.stderr
