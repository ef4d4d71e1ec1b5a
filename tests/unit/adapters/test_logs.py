"""Logs: one JSON object a line, whatever a record brought in; nothing secret, nothing hidden by a flood."""

from __future__ import annotations

import ast
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.adapters import logs
from services.adapters.log_events import EVENTS, LINES_HELD_BACK, page
from services.adapters.logs import OURS_BURST, TEXT_LIMIT, configure
from services.adapters.rate_limit import KINDS, RateLimit
from tests.tidy.tree import ROOT, parse, python_files, where

Lines = Callable[[], list[dict[str, Any]]]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_without_control_characters(lines: Lines) -> None:
    log = configure("info", "json")
    log.error("alarm", detail="a\nb\x1b[31m\u202e" + "x" * 10_000, offsets={"fil\nls": 3}, more=["\x07", 1, None])
    (told,) = lines()
    assert (told["event"], told["level"], told["logger"]) == ("alarm", "error", "ringfence")
    assert told["detail"].startswith("a\\nb\\x1b[31m\\u202exxx")
    assert len(told["detail"]) < 2 * TEXT_LIMIT
    assert told["offsets"] == {"fil\\nls": 3}
    assert told["more"] == ["\\x07", 1, None]


def test_the_terminal_gets_text_that_cannot_steer_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure("info", "console")
    try:
        raise ValueError("evil\x1b]0;title\x07")
    except ValueError:
        log.exception("failed", account="a\x1b[2J")
    text = capsys.readouterr().err
    assert "a\\x1b[2J" in text
    assert "evil\\x1b]0;title\\x07" in text
    assert "Traceback" in text
    assert "\x1b[2J" not in text
    assert "\x1b]0" not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_stack_has_no_values_of_variables(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    log = configure("info", form)
    try:
        key = "hunter2"
        sys.intern(key).index("x" * 3)
    except ValueError:
        log.exception("failed")
    text = capsys.readouterr().err
    assert "ValueError" in text
    assert text.count("hunter2") <= text.count('key = "hunter2"')  # the source line may be shown, its value not


@pytest.mark.parametrize("name", ["password", "sasl_password", "row_key", "api_key", "Token", "client_secret"])
def test_what_is_called_a_secret_is_masked(name: str, lines: Lines) -> None:
    configure("info", "json").info("listening", **{name: "hunter2"}, nested={name: ["hunter2"]})
    (told,) = lines()
    assert "hunter2" not in json.dumps(told)
    assert told[name] == "***"


def test_a_login_in_an_address_is_masked(lines: Lines) -> None:
    configure("info", "json").warning(
        "unreachable", error="cannot reach redis://user:hunter2@host:6379/0, nor http://host/"
    )
    (told,) = lines()
    assert told["error"] == "cannot reach redis://***@host:6379/0, nor http://host/"


def test_libraries_speak_the_same_way_and_are_throttled(lines: Lines) -> None:
    configure("info", "json")
    for number in range(500):
        logging.getLogger("aiokafka.conn").error("no broker %s", number)
    (told,) = lines()
    assert (told["event"], told["logger"]) == ("no broker 0", "aiokafka.conn")


def test_the_next_line_of_a_kind_says_how_many_were_held_back(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LIBRARIES_PER_S", 0.0)  # told with the next line, not in a second
    log = configure("info", "json")
    for number in range(OURS_BURST + 30):
        log.warning("store_unreachable", partition=1, number=number)
    log.warning("store_unreachable", partition=2)
    log.warning("stood_still", seconds=1)
    told = lines()
    assert [line["event"] for line in told].count("store_unreachable") == OURS_BURST + 1
    assert told[-1]["event"] == "stood_still"
    logging.getLogger().handlers[0].close()
    (owed,) = lines()
    assert (owed["event"], owed["count"]) == (LINES_HELD_BACK, 30)
    assert owed["kind"] == "ringfence store_unreachable 1"


def test_a_kind_is_admitted_again_after_its_time_with_the_count() -> None:
    limit = RateLimit(2, 10.0)
    assert [limit.admit("a", 0.1 * number) for number in range(5)] == [0, 0, None, None, None]
    assert limit.admit("b", 1.0) == 0
    assert limit.admit("a", 10.0) == 3
    assert limit.admit("a", 10.1) == 0


def test_what_was_held_back_is_told_once_though_none_follows() -> None:
    limit = RateLimit(1, 1.0)
    for _ in range(4):
        limit.admit("a", 0.0)
    limit.admit("b", 0.0)
    assert limit.overdue(0.5) == []
    assert limit.overdue(2.0) == [("a", 3)]
    assert limit.overdue(3.0) == []


def test_kinds_without_end_need_no_memory_without_end_and_lose_no_count() -> None:
    limit = RateLimit(1, 1.0)
    for number in range(3 * KINDS):
        limit.admit(number, 0.0)
        limit.admit(number, 0.0)
    assert len(limit._kinds) == KINDS
    assert sum(held for _, held in limit.overdue(5.0)) == 3 * KINDS


# -- the catalogue of events -------------------------------------------------------------------------------------------------


def logged(tree: ast.Module) -> Iterator[tuple[str | None, int]]:
    """What is given to a logger as an event (None: no literal), with the line."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and getattr(node.func.value, "attr", getattr(node.func.value, "id", "")) in ("log", "_log")
        ):
            first = node.args[0] if node.args else None
            literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield (first.value if literal and isinstance(first, ast.Constant) else None), node.lineno


def test_every_event_of_the_code_is_in_the_catalogue_and_the_other_way_round() -> None:
    found = [(event, where(path, line)) for path in python_files("services") for event, line in logged(parse(path))]
    unknown = [f"{place}: {event}" for event, place in found if event not in EVENTS]
    assert not unknown, "add to services/adapters/log_events.py: " + ", ".join(unknown)
    assert set(EVENTS) - {event for event, _ in found} == {LINES_HELD_BACK}


def test_a_seeded_event_is_found() -> None:
    assert list(logged(ast.parse("self._log.warning('x', a=1)\nlog.info(name)\nother.info('y')"))) == [
        ("x", 1),
        (None, 2),
    ]


def test_the_page_is_that_of_the_catalogue() -> None:
    assert (ROOT / "deploy" / "logs.md").read_text() == page(), "run: ringfence config logs > deploy/logs.md"
