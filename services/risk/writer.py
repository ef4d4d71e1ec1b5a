"""Writing under a transactional id: whoever starts later fences every writer before it, and ends what that had begun."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_producer import cut
from services.adapters.kafka_reach import reaching
from services.adapters.ports import Unreachable
from services.contracts.codec import encode
from services.contracts.messages import RiskParameters

TRANSACTION_TIMEOUT_MS: Final = 10_000


class Deposed(Exception):
    """The record is not written, or nobody knows: the term is over."""


class Writer:
    """Appends to `risk-parameters`, each call one transaction. Lives until its first error."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Fence those before us.

        Raises:
            Unreachable: no broker answers in time.
        """
        self._producer = AIOKafkaProducer(
            **self._connection.arguments(), acks="all", transactional_id=f"{self._topic}-publisher",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        )  # fmt: skip
        try:
            async with reaching(self._connection):
                await self._producer.start()
        except Unreachable:
            await self.stop()
            raise

    async def write(self, messages: Sequence[RiskParameters]) -> None:
        """All of them or none.

        Raises:
            Deposed: a newer writer exists, or the brokers did not answer in time.
        """
        assert self._producer is not None
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_MS / 1000), self._producer.transaction():
                sent = [
                    await self._producer.send(self._topic, encode(each), key=each.instrument.encode(), partition=0)
                    for each in messages
                ]
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Deposed(repr(error)) from error

    async def stop(self) -> None:
        """Disconnect at once; the sender ends before the connection, so that nothing leaves any more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await cut(producer)
