"""The live screen, driven by keys without a terminal."""

from __future__ import annotations

import threading

import msgspec
from textual.widgets import DataTable, Static

from services.contracts.status import WorkerStatus
from services.top.live import PANELS, Top
from services.top.workers import Lost, Workers
from tests.unit.top.statuses import a_status


class Source:
    """Answers what the test says; `None` is a worker that is lost."""

    def __init__(self, status: WorkerStatus | None) -> None:
        self.status = status
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, _: str) -> bytes:
        self.asked += 1
        assert self.gate.wait(10)
        if self.status is None:
            raise Lost("connection refused")
        return msgspec.json.encode(self.status)


def app_of(source: Source) -> Top:
    return Top(Workers(["http://h:1/statusz"], lambda: 0.0, source), 60.0, lambda: 12.0)


def text_of(app: Top, widget: str) -> str:
    return str(app.query_one(f"#{widget}", Static).content)


async def test_it_shows_what_the_workers_say() -> None:
    app = app_of(Source(a_status()))
    async with app.run_test(size=(200, 60)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert {name: app.query_one(f"#{name}", DataTable).row_count for name in PANELS} == {
            "workers": 1, "shards": 2, "buckets": 2, "prices": 2, "orders": 5,
        }  # fmt: skip
        assert "all well" in text_of(app, "summary")
        assert not app.query_one("#troubles").display


async def test_a_worker_that_goes_is_shown_as_lost_and_comes_back() -> None:
    source = Source(a_status())
    app = app_of(source)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.workers.wait_for_complete()
        source.status = None
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "w-1 is lost for 12.0 s: connection refused" in text_of(app, "troubles")
        assert app.query_one("#shards", DataTable).row_count == 2
        source.status = a_status()
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert not app.query_one("#troubles").display


async def test_a_slow_worker_is_not_asked_twice_at_once() -> None:
    source = Source(a_status())
    source.gate.clear()
    app = app_of(source)
    async with app.run_test() as pilot:
        await pilot.press("r", "r", "r")
        source.gate.set()
        await app.workers.wait_for_complete()
        assert source.asked == 1


async def test_the_cursor_stays_where_it_was_when_rows_change() -> None:
    source = Source(a_status(partitions=tuple(range(20))))
    app = app_of(source)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.press("2", *["down"] * 7, "r")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.query_one("#shards", DataTable).cursor_row == 7
        source.status = a_status(partitions=(0, 1, 2))
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.query_one("#shards", DataTable).cursor_row == 2


async def test_keys_enlarge_pause_and_quit() -> None:
    source = Source(a_status())
    app = app_of(source)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.press("3", "enter")
        assert app.screen.maximized is app.query_one("#buckets")
        await pilot.press("enter")
        assert app.screen.maximized is None
        await pilot.press("space")
        assert "paused" in text_of(app, "summary")
        asked = source.asked
        app._tick()
        assert source.asked == asked
        await pilot.press("q")
    assert app.return_code == 0
