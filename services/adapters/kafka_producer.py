"""The producer that orders travel by: idempotent, acknowledged by all in-sync replicas, bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_reach import reaching
from services.adapters.ports import Outgoing, Sent, Unreachable

MAX_BATCH_BYTES: Final = 256 * 1024
BATCH_FROM: Final = 32  # from so many records for one partition on, the batch API is the cheaper way
MOST_IN_BATCH: Final = 1_000  # records: what fills a batch of records of usual size
CLOSE_TIMEOUT_S: Final = 5.0
LOSSES: Final = (KafkaError, OSError, TimeoutError)


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

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[Sent]:
        """See `Producer.send`; what goes to one partition shares batches, and no partition waits for another."""
        if len(outgoing) < BATCH_FROM:
            return await self._send_few(outgoing)
        places: dict[tuple[str, int | None], list[int]] = {}
        for number, item in enumerate(outgoing):
            places.setdefault((item.topic, item.partition), []).append(number)
        # Each to its end, also when one fails: whoever is told of the error abandons this producer.
        done = await asyncio.gather(
            *(self._send_to(topic, partition, outgoing, which) for (topic, partition), which in places.items()),
            return_exceptions=True,
        )
        sent: list[Sent] = []
        for each in done:
            if isinstance(each, LOSSES):
                raise self._lost(each) from each
            if isinstance(each, BaseException):
                raise each
            sent += each
        return sent

    async def _send_few(self, outgoing: Sequence[Outgoing]) -> list[Sent]:
        """Without a detour: these are waited for."""
        try:
            return [await self._send_one(number, item) for number, item in enumerate(outgoing)]
        except LOSSES as error:
            raise self._lost(error) from error

    def _lost(self, error: BaseException) -> Unreachable:
        """A broker without room or leader for the whole timeout: as lost as an acknowledgement that never comes."""
        return Unreachable(f"{self._connection.bootstrap} takes no records: {error!r}")

    async def _send_to(
        self, topic: str, partition: int | None, outgoing: Sequence[Outgoing], which: Sequence[int]
    ) -> list[Sent]:
        if partition is None or len(which) < BATCH_FROM:
            return [await self._send_one(number, outgoing[number]) for number in which]
        return await self._send_batches(topic, partition, outgoing, which)

    async def _send_one(self, number: int, item: Outgoing) -> Sent:
        assert self._producer is not None
        sent = await self._producer.send(
            item.topic, item.value, key=item.key, partition=item.partition, headers=list(item.headers)
        )
        return Sent([number], _offset_of(sent))

    async def _send_batches(
        self, topic: str, partition: int, outgoing: Sequence[Outgoing], which: Sequence[int]
    ) -> list[Sent]:
        """Let others have their turn after each batch: filling one takes a millisecond."""
        assert self._producer is not None
        sent: list[Sent] = []
        done = 0
        while done < len(which):
            builder = self._producer.create_batch()
            held = _fill(builder, [outgoing[number] for number in which[done : done + MOST_IN_BATCH]])
            batch = await self._producer.send_batch(builder, topic, partition=partition)
            sent.append(Sent(which[done : done + held], _offset_of(batch)))
            done += held
            await asyncio.sleep(0)
        return sent

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


def _fill(builder: BatchBuilder, items: Sequence[Outgoing]) -> int:
    """Append as many as fit, and close the batch to others; how many they are."""
    for held, item in enumerate(items):
        if builder.append(timestamp=None, key=item.key, value=item.value, headers=list(item.headers)) is None:
            assert held, "a record is smaller than an empty batch"
            return held
    builder.close()
    return len(items)


def _offset_of(sent: asyncio.Future[Any]) -> asyncio.Future[int]:
    """The offset of what was sent, or of its first record."""
    offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def settle(done: asyncio.Future[Any]) -> None:
        if offset.done():
            return
        if done.cancelled():
            offset.set_exception(Unreachable("the producer was closed"))
        elif (error := done.exception()) is not None:
            offset.set_exception(error)
        else:
            offset.set_result(done.result().offset)

    sent.add_done_callback(settle)
    return offset
