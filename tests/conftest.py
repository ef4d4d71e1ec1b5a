"""Order of the tests, real servers as fixtures, and what counts as missing."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest
from hypothesis import settings

from tests.support.kafka import KafkaServer
from tests.support.kafka_jars import broker_jars
from tests.support.process import ServerProcess, Unavailable
from tests.support.prometheus import PrometheusServer, hurried
from tests.support.prometheus import find as find_tool
from tests.support.redis import RedisServer

ROOT = Path(__file__).resolve().parents[1]
Server = TypeVar("Server", bound=ServerProcess)

# Fast and pure first, so that a mistake shows in seconds.
FOLDERS = ("unit", "property", "tidy", "script", "integration", "bench")
SERVER_OF_FIXTURE = {"kafka": "kafka", "private_kafka": "kafka", "redis_server": "redis"}

# No deadline: a shared machine is slow at times. In CI the examples are the same each time.
settings.register_profile("local", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)


def in_ci() -> bool:
    """Whether a missing real part is a failure: CI is set, and not to an empty, "0" or "false" value."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


settings.load_profile("ci" if in_ci() else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real server, and run pure tests first, those with servers later, slow ones last."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in SERVER_OF_FIXTURE:
                item.add_marker(SERVER_OF_FIXTURE[fixture])
    items.sort(key=_rank)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get the broker's jars before the first test, so that a slow download is not one test's time-out."""
    if not session.config.option.collectonly and any(item.get_closest_marker("kafka") for item in session.items):
        with contextlib.suppress(Unavailable):  # the fixture says it again, where it becomes a skip or a failure
            broker_jars()


def _rank(item: pytest.Item) -> tuple[bool, bool, bool, int]:
    folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    place = FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
    marked = {mark.name for mark in item.iter_markers()}
    return "slow" in marked, "kafka" in marked, "redis" in marked, place


def _go_without(missing: Unavailable) -> NoReturn:
    if in_ci():
        pytest.fail(f"a real part is missing: {missing}", pytrace=False)
    pytest.skip(str(missing))


def _running(make: Callable[[], Server]) -> Iterator[Server]:
    try:
        server = make()
    except Unavailable as missing:
        _go_without(missing)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """The broker that all tests of a run share: use `topic_prefix`, and `private_kafka` to kill one."""
    yield from _running(KafkaServer)


@pytest.fixture
def private_kafka() -> Iterator[KafkaServer]:
    """A broker for one test, which may kill or freeze it; takes some seconds to start."""
    yield from _running(KafkaServer)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """An empty Redis for one test, which may kill or freeze it."""
    yield from _running(RedisServer)


@pytest.fixture
def prometheus() -> Iterator[PrometheusServer]:
    """An empty Prometheus for one test, with the rules of the deployment in a hurry."""
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    yield from _running(lambda: PrometheusServer(hurried(rules)))


@pytest.fixture(scope="session")
def promtool() -> str:
    """The checker of rules and metrics that comes with Prometheus."""
    try:
        return find_tool("promtool")
    except Unavailable as missing:
        _go_without(missing)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test's topics and groups share."""
    return f"t{uuid.uuid4().hex[:10]}-"
