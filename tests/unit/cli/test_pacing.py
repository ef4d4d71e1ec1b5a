"""How fast a recording goes by, and how far it is."""

from __future__ import annotations

import time

import pytest
import typer

from services.cli.pacing import LONGEST_WAIT_S, paced, speed_of
from services.cli.progress import shown_progress, told
from services.contracts.records import Record
from tests.unit.replay.fakes import of, price


def ticks(*times_ms: int) -> list[Record]:
    return [of(price("1"), offset=number, time_ms=at) for number, at in enumerate(times_ms)]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for, on a clock that nothing else moves."""
    waited: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(waited))
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def test_distances_are_kept_at_the_speed_asked_for(waits: list[float]) -> None:
    records = ticks(1_000, 1_500, 1_400, 3_500)
    assert list(paced(records, 2.0)) == records
    assert waits == [0.25, 1.0], "what is older than the newest comes at once"


def test_a_long_silence_is_cut_short(waits: list[float]) -> None:
    list(paced(ticks(0, 10**9), 1.0))
    assert waits == [LONGEST_WAIT_S]


def test_without_a_speed_nothing_waits(waits: list[float]) -> None:
    assert len(list(paced(ticks(0, 10**9), None))) == 2
    assert waits == []


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("2", 2.0), ("0.5", 0.5)])
def test_a_speed_is_a_number_or_max(text: str, speed: float | None) -> None:
    assert speed_of(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "fast"])
def test_what_is_no_speed_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.Exit) as refused:
        speed_of(text)
    assert refused.value.exit_code == 2


def test_progress_hands_on_every_record_and_says_where_it_is() -> None:
    records = ticks(1, 2, 3)
    assert list(shown_progress(records, None)) == records
    assert told(1_700_000_000_000, None) == "at 2023-11-14 22:13:20"
    assert told(1_700_000_000_000, 12_345.6) == "12,346/s, at 2023-11-14 22:13:20"
