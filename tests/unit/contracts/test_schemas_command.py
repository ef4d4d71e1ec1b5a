"""`ringfence schemas`: writes what the types say, notices what differs, and refuses to break anybody unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.schemas import app
from services.contracts.published import files


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert run("write", "--directory", str(tmp_path)).exit_code == 0
    return tmp_path


def seed(folder: Path) -> None:
    """A committed schema with a field that the types no longer have."""
    path = folder / "fill.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["venue"] = {"type": "string"}
    path.write_text(json.dumps(schema))


def test_what_was_written_is_what_the_types_say(folder: Path) -> None:
    written = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert written == files()
    assert run("check", "--directory", str(folder)).exit_code == 0


def test_an_incompatible_change_is_not_written_unasked(folder: Path) -> None:
    seed(folder)
    before = (folder / "fill.v1.json").read_bytes()
    refused = run("write", "--directory", str(folder))
    assert refused.exit_code == 1
    assert "fill.v1.json $.venue: field removed" in refused.output
    assert (folder / "fill.v1.json").read_bytes() == before
    assert run("write", "--directory", str(folder), "--allow-incompatible").exit_code == 0
    assert run("check", "--directory", str(folder)).exit_code == 0


def test_check_names_everything_that_differs(folder: Path) -> None:
    seed(folder)
    (folder / "price.v1.json").unlink()
    (folder / "account.v1.json").write_text("{")
    (folder / "examples" / "old.json").write_text("{}")
    result = run("check", "--directory", str(folder), "--json")
    assert result.exit_code == 1
    found = {(c["file"], c["problem"]) for c in map(json.loads, result.stdout.splitlines())}
    assert found == {
        ("fill.v1.json", "incompatible"),
        ("fill.v1.json", "outdated"),
        ("price.v1.json", "missing"),
        ("account.v1.json", "unreadable"),
        ("account.v1.json", "outdated"),
        ("examples/old.json", "left_over"),
    }


def test_write_removes_nothing_that_it_did_not_write(folder: Path) -> None:
    (folder / "mine.json").write_text("{}")
    result = run("write", "--directory", str(folder))
    assert result.exit_code == 0
    assert "mine.json" in result.output
    assert (folder / "mine.json").exists()
