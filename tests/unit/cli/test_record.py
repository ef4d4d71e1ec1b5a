"""What the commands say of bad recordings, and what `record` and `replay --to` refuse before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs
from typer.testing import CliRunner

from services.adapters.recordings_manifest import MANIFEST, read_manifest, write_manifest
from services.cli.main import app
from services.cli.recordings import opened, recorded_settings
from services.engine.settings import Settings
from services.liquidator.config import EngineSection
from tests.support.recordings import row, write_files

NOWHERE = {"RINGFENCE_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RINGFENCE_REDIS__URL": "redis://127.0.0.1:1/0"}


def mark(offset: int, price: str) -> bytes:
    return json.dumps({"instrument": "BTC-PERP", "mark_price": price, "ts_ms": offset}).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "r", *([row("prices", n, n, value=mark(n, "100"))] for n in range(3)))


@pytest.mark.parametrize("command", ["replay", "margin"])
def test_a_folder_is_a_recording_like_any_other(folder: Path, tmp_path: Path, command: str) -> None:
    lines = tmp_path / "r.jsonl"
    values = [{"topic": "prices", "timestamp_ms": n, "value": json.loads(mark(n, "100"))} for n in range(3)]
    lines.write_text("".join(json.dumps(value) + "\n" for value in values))
    outputs = []
    for path in (folder, lines):
        done = CliRunner().invoke(app, [command, str(path), "--json"])
        assert done.exit_code == 0, done.output
        told = [json.loads(line) for line in done.stdout.splitlines()]
        outputs.append([{key: value for key, value in line.items() if not key.endswith("_s")} for line in told])
    assert outputs[0] == outputs[1]


def test_the_engine_is_configured_as_where_it_was_recorded(folder: Path) -> None:
    manifest = read_manifest(folder)
    section = EngineSection(max_attempts=3, gap_guard="all").model_dump(mode="json")
    write_manifest(folder, structs.replace(manifest, parameters={**section, "account_partitions": 4}))
    with opened(str(folder)) as recording:
        settings = recorded_settings(recording)
    assert (settings.max_attempts, settings.gap_guard, settings.account_partitions) == (3, "all", 4)
    write_manifest(folder, manifest)
    with opened(str(folder)) as recording:
        assert recorded_settings(recording) == Settings()
    write_manifest(folder, structs.replace(manifest, parameters={"unheard_of": 1, "account_partitions": 4}))
    done = CliRunner().invoke(app, ["replay", str(folder)])
    assert (done.exit_code, "holds engine parameters that this build does not know" in done.stderr) == (2, True)


@pytest.mark.parametrize("command", ["replay", "margin"])
def test_a_bad_recording_has_no_effect(folder: Path, command: str) -> None:
    """The last file is cut: not even what the first ones hold is printed."""
    last = folder / "part-000003.parquet"
    last.write_bytes(last.read_bytes()[:-1])
    done = CliRunner().invoke(app, [command, str(folder), "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{last}: is truncated" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--from", "yesterday"], "--from 'yesterday': expected earliest, latest, epoch milliseconds or a time"),
        (["--to", "latest"], "--to 'latest': expected now, epoch milliseconds"),
        (["--from", MANIFEST], f"--from {MANIFEST}: "),
    ],
)
def test_a_place_that_is_none_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / MANIFEST).write_text("not offsets")
    done = CliRunner().invoke(app, ["record", "--out", "out", *arguments], env=NOWHERE)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


def test_a_folder_with_something_else_is_not_recorded_into(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = CliRunner().invoke(app, ["record", "--out", str(tmp_path)], env=NOWHERE)
    assert (done.exit_code, "holds no recording" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["kafka://127.0.0.1:1"], "these are the topics' own names"),
        (["kafka://127.0.0.1:1/copy-", "--speed", "0"], "--speed 0: expected a positive number, or max"),
        (["kafka://127.0.0.1:1/copy-", "--speed", "fast"], "--speed fast: expected a positive number, or max"),
        (["kafka://127.0.0.1:1/copy-?from=1"], "takes no options"),
        (["127.0.0.1:1/copy-"], "names no broker"),
    ],
)
def test_a_target_that_is_none_is_wrong_use(folder: Path, arguments: list[str], text: str) -> None:
    done = CliRunner().invoke(app, ["replay", str(folder), "--to", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


def test_a_target_without_brokers_is_3(folder: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(folder), "--to", "kafka://127.0.0.1:1/copy-"])
    assert (done.exit_code, done.stdout) == (3, "")
