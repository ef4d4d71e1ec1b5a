"""Asking workers: an answer, or a worker that is lost; never an exception."""

from __future__ import annotations

import msgspec
import pytest

from services.top import workers as module
from services.top.workers import Workers, status_url
from tests.unit.top.statuses import Told, a_status, telling


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_worker_that_answers_is_known() -> None:
    with telling(a_status("w-7")) as told:
        workers = Workers([told.url, told.url], Clock())
        await workers.refresh()
    (seen,) = workers.seen
    assert (seen.name, seen.status, seen.error, seen.lost_since) == ("w-7", a_status("w-7"), None, None)
    assert told.asked == ["/statusz"]


async def test_two_workers_of_one_host_are_told_apart_by_their_addresses() -> None:
    with (
        telling(a_status("host", (0,))) as first,
        telling(a_status("host", (1,))) as second,
        telling(a_status()) as third,
    ):
        workers = Workers([first.url, second.url, third.url], Clock())
        await workers.refresh()
    addresses = [told.url.split("/")[2] for told in (first, second)]
    assert [seen.name for seen in workers.seen] == [*addresses, "w-1"]


async def test_a_lost_worker_keeps_what_was_known_and_comes_back() -> None:
    clock = Clock()
    with telling(a_status()) as told:
        workers = Workers([told.url], clock)
        await workers.refresh()
        told.code = 503
        await workers.refresh()
        clock.now = 107.0
        await workers.refresh()
        (seen,) = workers.seen
        assert (seen.error, seen.lost_since, seen.name) == ("answers 503", 100.0, "w-1")
        assert seen.status == a_status()
        told.code = 200
        await workers.refresh()
        assert (seen.error, seen.lost_since) == (None, None)


async def test_one_that_was_never_there_is_lost_by_its_address() -> None:
    with telling(a_status()) as told:
        address = told.url
    workers = Workers([address], Clock())
    await workers.refresh()
    (seen,) = workers.seen
    assert seen.error == "connection refused"
    assert seen.name == address.split("/")[2]


def no_json(told: Told) -> None:
    told.content = b"<html>Grafana</html>"


def another_shape(told: Told) -> None:
    told.content = b'{"instance": 7}'


def far_too_much(told: Told) -> None:
    told.content = b"[" * (module.LARGEST + 10)


def elsewhere(told: Told) -> None:
    told.code, told.headers = 302, {"Location": "file:///etc/passwd"}


def nothing(told: Told) -> None:
    told.code = 0


@pytest.mark.parametrize("odd", [no_json, another_shape, far_too_much, elsewhere, nothing])
async def test_whatever_else_answers_is_a_lost_worker(odd: object) -> None:
    with telling(a_status()) as told:
        assert callable(odd)
        odd(told)
        workers = Workers([told.url], Clock())
        await workers.refresh()
    assert workers.seen[0].status is None
    assert workers.seen[0].error


async def test_a_newer_worker_with_more_to_say_is_understood() -> None:
    with telling(a_status()) as told:
        told.content = msgspec.json.encode(msgspec.to_builtins(a_status()) | {"new_in_the_next_version": {"a": [1]}})
        workers = Workers([told.url], Clock())
        await workers.refresh()
    assert workers.seen[0].status == a_status()


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://127.0.0.1:9464", "http://127.0.0.1:9464/statusz"),
        ("http://127.0.0.1:9464/", "http://127.0.0.1:9464/statusz"),
        ("127.0.0.1:9464", "http://127.0.0.1:9464/statusz"),
        ("https://host/prefix/statusz", "https://host/prefix/statusz"),
    ],
)
def test_addresses_as_people_write_them(written: str, url: str) -> None:
    assert status_url(written) == url


@pytest.mark.parametrize(
    "written", ["", "file:///etc/passwd", "ftp://host", "http://", "http://host:0", "http://h/?x=1", "http://h:99999"]
)
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        status_url(written)
