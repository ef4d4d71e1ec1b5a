"""Kafka within a bound of time, or a word that says that it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiokafka.errors import KafkaError

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.ports import Unreachable

Answer = TypeVar("Answer")


@asynccontextmanager
async def reaching(connection: KafkaConnection) -> AsyncIterator[None]:
    """What the block asks of the brokers first, within `request_timeout_ms`. Raises `Unreachable`."""
    try:
        async with asyncio.timeout(connection.request_timeout_ms / 1000):
            yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(f"no Kafka broker answers at {connection.bootstrap}: {error!r}") from error


async def answered(request: Awaitable[Answer], timeout_s: float) -> Answer:
    """A later answer of theirs. Raises `Unreachable`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await request
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(f"Kafka does not answer: {error!r}") from error
