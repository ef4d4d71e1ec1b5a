"""One recording two ways: `ringfence replay`, and real Kafka, Redis and worker. Prints what agrees and what does not.

    python -m tests.recordings coinm-linear --out crash.jsonl.zst && python -m tests.recordings.live crash.jsonl.zst

The recording is moved in time so that it starts now: records keep their distances and carry their times into Kafka, so the
worker's event time runs through the two hours as fast as it is fed. Orders are answered as `--matching next` answers them, by
the replay's own matcher over the orders that the *worker* wrote. Publishing pauses where the replay says that a record causes
orders, until the worker wrote them, and for `ANSWER_DELAY_S` around answers: marks and answers travel in different topics, and
nothing else would say in which order a worker reads them. Everything else is published as fast as Kafka takes it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.adapters.presets import load_presets
from services.adapters.recordings import read_file
from services.contracts.codec import decode, encode
from services.contracts.decimals import parse, to_text
from services.contracts.identifiers import partition_of
from services.contracts.messages import Account, Claim, Evidence, Fill, Instrument, Order, Price, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import TOPICS
from services.demo.books import Books
from services.demo.figures import explain
from services.demo.process import WorkerProcess
from services.demo.settings import worker_config
from services.engine.effects import Effect, Emit
from services.engine.settings import Settings
from services.replay.choices import EngineName, Matching
from services.replay.engines import ReplayEngine, make_engine
from services.replay.lines import ORDERS
from services.replay.matching import Answer, Matcher
from services.replay.runner import ANSWER_TOPICS, Runner
from tests.recordings.writing import PARTITIONS
from tests.support.kafka import KafkaServer, create_topics
from tests.support.redis import RedisServer

ANSWER_DELAY_S: Final = 0.005
EXPECTED_TIMEOUT_S: Final = 60.0  # the worker may lag behind a stretch that was published at full speed
GIVE_UP_AFTER: Final = 20  # expected orders that did not come: from then on nothing is waited for
CLAIM_TIMEOUT_S: Final = 60.0
IN_FLIGHT: Final = 5_000
LATEST_TIMESTAMP_MS: Final = 10**15  # recordings run ahead of the wall clock


class Way(NamedTuple):
    """What one way of running the recording came to."""

    name: str
    records: int
    orders: dict[str, Order]
    books: Books
    seconds: float


class Ledger:
    """The venue's books over a stream of records: what both ways are measured by."""

    def __init__(self, records: Sequence[Record]) -> None:
        messages = [decode(record.topic, record.value) for record in records if record.topic == "instruments"]
        self.books = Books({m.instrument: m for m in messages if isinstance(m, Instrument)})

    def saw(self, record: Record) -> None:
        message = decode(record.topic, record.value)
        match message:
            case Account():
                self.books.open_account(message.account, isolated=message.margin_mode == "isolated")
            case Transfer():
                self.books.transfer(message)
            case Fill():
                self.books.fill(message)
            case Price(mark_price=str(mark)):
                self.books.mark(message.instrument, parse(mark))
            case _:
                pass


class Watched:
    """A replay's engine, with the ledger seeing each record that is applied."""

    def __init__(self, engine: ReplayEngine, ledger: Ledger) -> None:
        self._engine, self._ledger = engine, ledger

    def apply(self, record: Record) -> list[Effect]:
        self._ledger.saw(record)
        return self._engine.apply(record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def moved(records: Iterator[Record], start_ms: int) -> list[Record]:
    """The recording with all its times shifted by one amount, so that it starts at `start_ms`."""
    shift: int | None = None
    rows = []
    for record in records:
        shift = start_ms - record.timestamp_ms if shift is None else shift
        message = decode(record.topic, record.value)
        assert not isinstance(message, Refusal), f"{record.topic}@{record.offset}: {message}"
        ts_ms: int | None = getattr(message, "ts_ms", None)
        later = msgspec.structs.replace(message, ts_ms=ts_ms + shift) if ts_ms else message
        rows.append(msgspec.structs.replace(record, timestamp_ms=record.timestamp_ms + shift, value=encode(later)))
    return rows


def replayed(records: Sequence[Record]) -> tuple[Way, dict[int, set[str]]]:
    """The replay, and for the index of each record that causes orders their ids."""
    ledger, settings = Ledger(records), Settings()
    engine = Watched(make_engine(EngineName.FAST, settings, load_presets(), observe=False), ledger)
    runner = Runner(engine, Matching.NEXT, settle_ms=settings.account_settle_ms)
    orders: dict[str, Order] = {}
    expected: dict[int, set[str]] = {}
    started = time.perf_counter()
    for index, record in enumerate(records):
        for effect in runner.steps([record]):
            if isinstance(effect, Emit) and isinstance(effect.message, Order):
                orders[effect.message.order_id] = effect.message
                expected.setdefault(index, set()).add(effect.message.order_id)
    return Way("replay", len(records), orders, ledger.books, time.perf_counter() - started), expected


class LiveRun:
    """Feeds the worker through Kafka and answers what it orders."""

    def __init__(self, bootstrap: str, records: Sequence[Record]) -> None:
        self._records = records
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=5
        )
        self._ledger = Ledger(records)
        self._matcher = Matcher(Matching.NEXT)
        self._epochs: dict[int, int] = {}
        self._changed = asyncio.Condition()
        self._now_ms = 0
        self.orders: dict[str, Order] = {}
        self.missed: set[str] = set()

    async def run(self, expected: dict[int, set[str]]) -> Way:
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(ORDERS, partition) for partition in range(PARTITIONS)])
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read())
                async with asyncio.timeout(CLAIM_TIMEOUT_S), self._changed:
                    await self._changed.wait_for(lambda: len(self._epochs) == PARTITIONS)
                started = time.perf_counter()
                for index, record in enumerate(self._records):
                    await self._feed(record, expected.get(index, set()))
                seconds = time.perf_counter() - started
                reader.cancel()
        finally:
            await self._consumer.stop()
            await self._producer.stop()
        return Way("live", len(self._records), self.orders, self._ledger.books, seconds)

    async def _feed(self, record: Record, expected: set[str]) -> None:
        self._now_ms = record.timestamp_ms
        await self._publish(record.topic, record.partition, record.key, record.value)
        self._ledger.saw(record)
        message = decode(record.topic, record.value)
        assert not isinstance(message, Refusal), message
        answers = self._matcher.saw(message, self._now_ms)
        if answers:
            await self._producer.flush()
            await asyncio.sleep(ANSWER_DELAY_S)
            await self._answer(answers)
        if expected:
            await self._producer.flush()
            await self._wait_for(expected)
        if answers:
            await self._producer.flush()
            await asyncio.sleep(ANSWER_DELAY_S)

    async def _wait_for(self, expected: set[str]) -> None:
        if len(self.missed) >= GIVE_UP_AFTER:
            return
        try:
            async with asyncio.timeout(EXPECTED_TIMEOUT_S), self._changed:
                await self._changed.wait_for(lambda: expected <= self.orders.keys())
        except TimeoutError:
            self.missed |= expected - self.orders.keys()

    async def _read(self) -> None:
        while True:
            rows = await self._consumer.getmany(timeout_ms=100)
            for record in (record for batch in rows.values() for record in batch):
                await self._read_one(record.partition, record.offset, record.value)
            if rows:
                async with self._changed:
                    self._changed.notify_all()

    async def _read_one(self, partition: int, offset: int, value: bytes) -> None:
        message = decode(ORDERS, value)
        if isinstance(message, Claim):
            self._epochs[partition] = offset
        elif isinstance(message, Order) and self._epochs.get(partition) == message.epoch:
            fresh = message.order_id not in self.orders
            self.orders[message.order_id] = message
            if fresh:
                await self._answer(self._matcher.ordered(message, self._now_ms))

    async def _answer(self, answers: Sequence[Answer]) -> None:
        """Publishes the answers; the ledger sees a fill when it is booked."""
        for answer in answers:
            if isinstance(answer, Fill):
                self._ledger.books.fill(answer)
            partition = partition_of(answer.account, PARTITIONS)
            await self._publish(ANSWER_TOPICS[type(answer)], partition, answer.account.encode(), encode(answer))

    async def _publish(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        await self._producer.send(topic, value, key=key, partition=partition, timestamp_ms=self._now_ms)


def compared(replay: Way, live: Way, missed: int) -> dict[str, Any]:
    """What both came to, side by side, and whether they agree."""
    both = replay.orders.keys() & live.orders.keys()
    different = [name for name in sorted(both) if _decision(replay.orders[name]) != _decision(live.orders[name])]
    return {
        "ways": {way.name: _figures(way) for way in (replay, live)},
        "orders_in_both": len(both),
        "orders_only_in_replay": len(replay.orders.keys() - both),
        "orders_only_live": len(live.orders.keys() - both),
        "orders_that_differ": len(different),
        "first_difference": _difference(replay, live, different),
        "waited_for_in_vain": missed,
        "agree": not different and replay.orders.keys() == live.orders.keys() and _figures(replay) == _figures(live),
    }


def _figures(way: Way) -> dict[str, Any]:
    lowest = way.books.lowest
    return {
        "records": way.records,
        "orders": len(way.orders),
        "liquidated_buckets": len({(order.account, order.bucket) for order in way.orders.values()}),
        "negative_buckets": dict(Counter(negative.cause for negative in way.books.negatives.values())),
        "lowest_equity": None if lowest is None else to_text(lowest[0]),
        "stages": dict(Counter(order.stage for order in way.orders.values())),
    }


def _decision(order: Order) -> Order:
    """What was decided, without where the records lay in this run's log."""
    return msgspec.structs.replace(order, epoch=0, evidence=Evidence())


def _difference(replay: Way, live: Way, different: Sequence[str]) -> dict[str, Any] | None:
    if not different:
        return None
    one, other = (msgspec.to_builtins(_decision(way.orders[different[0]])) for way in (replay, live))
    return {
        "order_id": different[0],
        **{name: [one[name], other[name]] for name in one if one[name] != other[name]},
    }


async def _live(records: Sequence[Record], expected: dict[int, set[str]]) -> tuple[Way, int]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringfence-live-")))
        kafka = KafkaServer({"log.message.timestamp.after.max.ms": str(LATEST_TIMESTAMP_MS)})
        stack.callback(kafka.close)
        kafka.start()
        redis = RedisServer()
        stack.callback(redis.close)
        redis.start()
        await create_topics(kafka.bootstrap, {topic.name: topic.partitions or PARTITIONS for topic in TOPICS})
        config = folder / "liquidator.toml"
        config.write_text(worker_config(kafka.bootstrap, redis.url, {}))
        worker = WorkerProcess(config, folder / "worker.log")
        await worker.start()
        try:
            run = LiveRun(kafka.bootstrap, records)
            return await run.run(expected), len(run.missed)
        except Exception:
            print(worker.log_tail(), file=sys.stderr)
            raise
        finally:
            await worker.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--records", type=int, default=None, help="only so many from the start")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit, so that what was started is stopped
    records = moved(islice(read_file(str(arguments.recording)), arguments.records), time.time_ns() // 1_000_000)
    replay, expected = replayed(records)
    live, missed = asyncio.run(_live(records, expected))
    result = compared(replay, live, missed)
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    print(f"replay {replay.seconds:.1f} s, live {live.seconds:.1f} s")
    for way in (replay, live):
        for negative in way.books.negatives.values():
            print(f"{way.name}: {explain(negative)}")
    return 0 if result["agree"] else 1


if __name__ == "__main__":
    sys.exit(main())
