"""Logs: one JSON object a line, whatever a record brought in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from services.adapters.logs import TEXT_LIMIT, Throttle, configure


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_json_object_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure("info", "json")
    log.error("alarm", detail="a\nb\x1b[31m" + "x" * 10_000)
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("alarm", "error")
    assert told["detail"].startswith("a?b?[31m")
    assert len(told["detail"]) <= TEXT_LIMIT


def test_libraries_speak_the_same_way_and_are_throttled(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    for number in range(500):
        logging.getLogger("aiokafka.conn").error("no broker %s", number)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "no broker 0"


def test_our_own_lines_are_never_dropped() -> None:
    throttle = Throttle()
    record = logging.LogRecord("ringfence", logging.ERROR, "", 0, "alarm", (), None)
    assert all(throttle.filter(record) for _ in range(10))
