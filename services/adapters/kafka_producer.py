"""The producer that orders travel by: idempotent, acknowledged by all in-sync replicas, bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import reaching
from services.adapters.ports import Outgoing, Unreachable

MAX_BATCH_BYTES: Final = 256 * 1024
BATCH_FROM: Final = 32  # from so many records for one partition on, the batch API is the cheaper way
CLOSE_TIMEOUT_S: Final = 5.0


class KafkaProducer:
    """`Producer` over aiokafka. After the first error it must be abandoned: what was in flight may or may not have landed."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """See `Producer.start`."""
        producer = AIOKafkaProducer(
            **self._connection.arguments(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
        )
        self._producer = producer
        try:
            async with reaching(self._connection):
                await producer.start()
        except Unreachable:
            await self.abandon()
            raise

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[asyncio.Future[int]]:
        """See `Producer.send`; runs of records for one partition share a batch."""
        try:
            return await self._send_all(outgoing)
        except (KafkaError, OSError, TimeoutError) as error:
            # A broker without room or leader for the whole timeout: as lost as an acknowledgement that never comes.
            raise Unreachable(f"{self._connection.bootstrap} takes no records: {error!r}") from error

    async def _send_all(self, outgoing: Sequence[Outgoing]) -> Sequence[asyncio.Future[int]]:
        offsets: list[asyncio.Future[int]] = []
        for (_, partition), group in groupby(outgoing, key=lambda item: (item.topic, item.partition)):
            items = list(group)
            if partition is None or len(items) < BATCH_FROM:
                offsets += [await self._send_one(item) for item in items]
            else:
                offsets += await self._send_batches(items)
        return offsets

    async def _send_one(self, item: Outgoing) -> asyncio.Future[int]:
        assert self._producer is not None
        sent = await self._producer.send(
            item.topic, item.value, key=item.key, partition=item.partition, headers=list(item.headers)
        )
        return _offset_of(sent, 0)

    async def _send_batches(self, items: Sequence[Outgoing]) -> list[asyncio.Future[int]]:
        assert self._producer is not None
        offsets: list[asyncio.Future[int]] = []
        builder, held = self._producer.create_batch(), 0
        for item in items:
            added = builder.append(timestamp=None, key=item.key, value=item.value, headers=list(item.headers))
            if added is None:
                offsets += await self._submit(builder, items[0], held)
                builder, held = self._producer.create_batch(), 0
                added = builder.append(timestamp=None, key=item.key, value=item.value, headers=list(item.headers))
                assert added is not None, "a record is smaller than an empty batch"
            held += 1
        return offsets + await self._submit(builder, items[0], held)

    async def _submit(self, builder: Any, first: Outgoing, count: int) -> list[asyncio.Future[int]]:
        assert self._producer is not None
        builder.close()
        sent = await self._producer.send_batch(builder, first.topic, partition=first.partition)
        return [_offset_of(sent, index) for index in range(count)]

    async def close(self) -> None:
        """See `Producer.close`."""
        if self._producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._producer.stop()
        except TimeoutError:
            await self.abandon()

    async def abandon(self) -> None:
        """See `Producer.abandon`: the sender is ended before the connection, so that nothing leaves any more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await cut(producer)


async def cut(producer: AIOKafkaProducer) -> None:
    """Disconnect at once; the sender ends before the connection, so that nothing leaves any more."""
    producer._closed = True
    sender = producer._sender
    if sender is not None and sender.sender_task is not None:
        sender.sender_task.cancel()
    await producer.client.close()


def _offset_of(sent: asyncio.Future[Any], index: int) -> asyncio.Future[int]:
    """The offset of one record of what was sent, as a future of its own."""
    offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def settle(done: asyncio.Future[Any]) -> None:
        if offset.done():
            return
        if done.cancelled():
            offset.set_exception(Unreachable("the producer was closed"))
        elif (error := done.exception()) is not None:
            offset.set_exception(error)
        else:
            offset.set_result(done.result().offset + index)

    sent.add_done_callback(settle)
    return offset
