"""The layout: what is wrong first, and nothing that a worker says can steer the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from services.contracts.status import BucketStatus, WorkerStatus
from services.top.numbers import amount, duration, printable
from services.top.plain import show
from services.top.troubles import Weight, troubles
from services.top.view import screen_of
from services.top.workers import Seen
from tests.unit.top.statuses import a_shard, a_status, an_order_status

NOW = 500.0


def seen(status: WorkerStatus | None, lost_for: float | None = None, url: str = "http://h:1/statusz") -> Seen:
    lost_since = None if lost_for is None else NOW - lost_for
    return Seen(url, status, b"", None if lost_for is None else "connection refused", lost_since)


def told(*workers: Seen) -> list[str]:
    return [trouble.text for trouble in troubles(workers, NOW)]


def shown(*workers: Seen, width: int = 200) -> str:
    out = io.StringIO()
    show(screen_of(workers, NOW), Console(file=out, width=width))
    return out.getvalue()


def test_healthy_workers_have_no_troubles() -> None:
    assert told(seen(a_status("w-1", (0, 1))), seen(a_status("w-2", (2, 3)))) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"not_live": ["failed"]}, "w-1 is not live: failed"),
        ({"not_ready": ["no fresh price"]}, "w-1 is not ready: no fresh price"),
        ({"statuses": {"bankrupt": 2}}, "w-1: 2 with equity below zero (bankrupt)"),
        ({"statuses": {"dirty": 1}}, "w-1: 1 buckets cannot be decided (dirty)"),
        ({"price_grades": {"stale": 3}}, "w-1: 3 stale prices: 3 more"),
        ({"halts": {"all": 1, "instrument": 0, "account": 0}}, "w-1: an operator has halted everything"),
        (
            {"halts": {"all": 0, "instrument": 2, "account": 1}},
            "w-1: an operator has halted 2 instruments and 1 account",
        ),
        ({"queued": 5_000}, "w-1: 5000 records wait to be sent to Kafka"),
        ({"shards": [a_shard(3, "claim", "recovering")]}, "w-1: shard 3 is not deciding: claim, recovering"),
        ({"shards": [a_shard(3, lag_ms=2_500)]}, "w-1: shard 3 is 2.5 s behind"),
    ],
)
def test_what_is_wrong_with_a_worker_is_said(changes: dict[str, Any], text: str) -> None:
    assert told(seen(a_status(**changes))) == [text]


def test_a_standby_is_no_trouble_and_its_buckets_are_counted_once() -> None:
    reasons = ("claim", "fenced", "recovering", "standby")
    standby = seen(a_status("w-9", shards=[a_shard(0, *reasons), a_shard(1, *reasons)]))
    assert told(seen(a_status("w-1", (0, 1))), standby) == []
    text = shown(seen(a_status("w-1", (0, 1))), standby)
    assert "stands by" in text
    assert "shards deciding 2/2" in text
    assert "healthy 18,204" in text


def test_a_lost_worker_is_a_trouble_and_stays_on_the_screen() -> None:
    lost = seen(a_status("w-2", (2, 3)), lost_for=12)
    assert told(seen(a_status()), lost) == ["w-2 is lost for 12.0 s: connection refused"]
    text = shown(seen(a_status()), lost)
    assert "lost 12.0 s" in text
    assert "workers 2 (1 lost)  shards deciding 2/2" in text


def test_what_a_lost_worker_said_last_is_not_counted() -> None:
    text = shown(seen(a_status("w-1", (0, 1, 2, 3))), seen(a_status("w-2", (2, 3)), lost_for=12))
    assert "shards deciding 4/4" in text
    assert "healthy 18,204" in text
    assert text.count("a-77") == 1
    assert "2      w-1     deciding" in text
    assert "2      w-2" not in text


def test_a_worker_that_never_answered_is_named_by_its_address() -> None:
    text = shown(seen(None, lost_for=1, url="http://10.0.0.9:8080/statusz"))
    assert "10.0.0.9:8080 does not answer: connection refused" in text


def test_two_owners_of_a_shard_are_harm() -> None:
    found = troubles([seen(a_status("w-1", (0, 1))), seen(a_status("w-2", (1,)))], NOW)
    assert [(trouble.weight, trouble.text) for trouble in found] == [(Weight.HARM, "shard 1 is decided by w-1 and w-2")]
    # What a lost worker decided last is no news, and one in shadow decides beside the others by intent.
    assert "decided by" not in "".join(told(seen(a_status()), seen(a_status("w-2"), lost_for=1)))
    assert told(seen(a_status()), seen(a_status("w-2", shadow=True))) == []


def test_workers_that_differ_are_pointed_out() -> None:
    assert told(seen(a_status("w-1", (0,))), seen(a_status("w-2", (1,), version="0.2.0", settings_id="x"))) == [
        "workers run different settings: c0ffee00d15ea5e5, x",
        "workers run different versions: 0.1.0, 0.2.0",
    ]


def test_harm_comes_first() -> None:
    status = a_status(queued=5_000, not_ready=["no fresh price"], statuses={"bankrupt": 1})
    assert [trouble.weight for trouble in troubles([seen(status)], NOW)] == [Weight.HARM, Weight.BLIND, Weight.WATCH]


def test_everything_is_on_the_screen() -> None:
    text = shown(seen(a_status()))
    for part in (
        "all well",
        "shards deciding 2/2",
        "healthy 18,204",
        "a-77",
        "812.12",
        "BTC-PERP",
        "sell 1.25",
        "49,120.50",
        "at 101, 7 ms",
    ):
        assert part in text


def test_an_order_without_answer_is_seen() -> None:
    assert "not yet" in shown(seen(a_status(orders=[an_order_status(1, acknowledged_ms=None, offset=None)])))


def test_nothing_from_a_worker_steers_the_terminal() -> None:
    evil = BucketStatus(
        account="\x1b[2Ja\n[bold]b", bucket="\u202egnp", status="new\x07", valuation_asset="\x9b1m", equity="\x1b]0;x",
        maintenance_margin="NaN", maintenance_excess="1e999999999",
    )  # fmt: skip
    text = shown(seen(a_status("w\x1b[31m", worst=[evil], not_ready=["\x1b[5m"])))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "\\x1b[2Ja\\n[bold]b" in text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (90_000, "1.5 min"), (7_200_000, "2.0 h"), (-1500, "-1.5 s")],
)
def test_durations(ms: float, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("exact", "text"),
    [
        ("0", "0"),
        ("0.000123456789", "0.000123457"),
        ("1234567.891", "1,234,567.89"),
        ("-812.5", "-812.50"),
        (None, "-"),
        ("x\x1b", "x\\x1b"),
    ],
)
def test_amounts(exact: str | None, text: str) -> None:
    assert amount(exact) == text


def test_printable_text_stays() -> None:
    assert printable("Zürich a-1|x") == "Zürich a-1|x"
