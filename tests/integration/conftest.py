"""Fixtures that several integration tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.venue import Venue
from tests.integration.watched import Watched
from tests.support.kafka import KafkaServer
from tests.support.prometheus import PrometheusServer
from tests.support.redis import RedisServer


@pytest.fixture
async def watched(
    kafka: KafkaServer, redis_server: RedisServer, prometheus: PrometheusServer, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Watched]:
    """A venue whose prices flow, and a Prometheus that waits for workers."""
    async with (
        Venue(kafka.bootstrap, topic_prefix) as venue,
        Watched(venue, redis_server, prometheus, tmp_path) as running,
    ):
        yield running
