"""Where the demo's report goes, and that the recording beside it is the recording."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from services.adapters.recordings import Recording
from services.cli.demo_report import report_demo, report_path
from services.contracts.records import Record
from services.demo.settings import CRASH_ENGINE


def test_by_default_it_goes_to_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert report_path(None) == str(tmp_path / "cache" / "ringfence" / "demo.html")
    assert (tmp_path / "cache" / "ringfence").is_dir()


def test_without_a_cache_the_demo_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert report_path(None) is None
    assert "--report" in capsys.readouterr().err


def test_a_folder_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        report_path(str(tmp_path / "missing" / "x.html"))
    assert ended.value.exit_code == 2
    assert "missing" in capsys.readouterr().err


def test_the_recording_is_kept_as_it_was_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A price, and a record that is no JSON: both come back byte for byte."""
    records = [
        Record(topic="prices", partition=0, offset=3, timestamp_ms=5, key=b"A", value=b'{"instrument":"A","mark_price":"1.0","ts_ms":5}'),
        Record(topic="fills", partition=1, offset=0, timestamp_ms=6, key=None, value=b"not JSON <&>"),
    ]  # fmt: skip
    outcome: Any = SimpleNamespace(recording=records, summary=SimpleNamespace(negative_buckets=1))
    report_demo(outcome, str(tmp_path / "demo.html"))
    with Recording(str(tmp_path / "demo-as-played.jsonl.zst")) as kept:
        assert list(kept.records()) == records
    page = (tmp_path / "demo.html").read_text()
    assert "1 bucket was below zero" in page
    told = capsys.readouterr().err
    assert (tmp_path / "demo.html").as_uri() in told
    assert all(f"--set engine.{name}={value}" in told for name, value in CRASH_ENGINE.items()), (
        "verify has to be told them"
    )


def test_a_device_is_no_place_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        report_path(os.devnull)
    assert ended.value.exit_code == 2
    assert os.devnull in capsys.readouterr().err
