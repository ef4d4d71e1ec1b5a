"""One recording two ways: real Kafka, Redis and worker, and the engine alone. Prints what each came to, and whether they agree.

    python -m tests.recordings coinm-linear --accounts 10000 --out crash.jsonl.zst && python -m tests.recordings.live crash.jsonl.zst

The recording is moved in time so that it starts now: records keep their distances and carry their times into Kafka, so the worker's
event time runs through the two hours as fast as it is fed. It is fed as fast as the worker's journal says that it reads, never
further ahead than a window, a small one while orders wait for an answer. Orders are answered as `--matching next` answers them, by
the replay's own matcher over the orders that the *worker* wrote.

Afterwards the topics are read back, and the engine alone is given what the journal says that the worker was given: every order,
status and default that the worker wrote must come out again, byte for byte, and the rows of its tables. A plain `replay` of the
recording, where every answer comes at once, stands beside it for comparison: its orders are its own.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from services.adapters.presets import load_presets
from services.adapters.recordings import read_file
from services.adapters.redis_table import RedisTable, TableSettings
from services.cli.output import watched
from services.contracts.codec import decode, encode
from services.contracts.decimals import parse, to_text
from services.contracts.identifiers import partition_of
from services.contracts.journal import JOURNAL, JournalRecord, Latest, Read, decode_journal, rows_digest
from services.contracts.messages import TERMINAL, Account, Claim, Fill, Instrument, Order, OrderEvent, Price, Transfer
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
from services.replay.journalled import Place, Recomputed
from services.replay.lines import ORDERS
from services.replay.matching import Answer, Matcher
from services.replay.runner import ANSWER_TOPICS, Runner
from tests.recordings.writing import PARTITIONS
from tests.support.kafka import KafkaServer, create_topics
from tests.support.redis import RedisServer

CLAIM_TIMEOUT_S: Final = 60.0
STUCK_S: Final = 60.0  # without the worker reading anything
WINDOW: Final = 2_000  # records that may be published and not read
WINDOW_IN_A_STORM: Final = 40
PREFIX: Final = "ringfence:"  # of the tables, by default
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


def replayed(records: Sequence[Record]) -> Way:
    """A plain replay: every order is read back and answered at once."""
    ledger, settings = Ledger(records), Settings()
    engine = Watched(make_engine(EngineName.FAST, settings, load_presets(), observe=False), ledger)
    runner = Runner(engine, Matching.NEXT, settle_ms=settings.account_settle_ms)
    orders: dict[str, Order] = {}
    started = time.perf_counter()
    for effect in runner.run(watched(records, what="replay")):
        if isinstance(effect, Emit) and isinstance(effect.message, Order):
            orders[effect.message.order_id] = effect.message
    return Way("replay", len(records), orders, ledger.books, time.perf_counter() - started)


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
        self._published: Counter[Place] = Counter()
        self._read_on: Counter[Place] = Counter()  # offsets that the worker reads next
        self._waiting: set[str] = set()  # orders without a last answer
        self.orders: dict[str, Order] = {}

    async def run(self) -> Way:
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(topic, p) for topic in (ORDERS, JOURNAL) for p in range(PARTITIONS)])
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read())
                await self._until(lambda: len(self._epochs) == PARTITIONS, CLAIM_TIMEOUT_S)
                started = time.perf_counter()
                for record in watched(self._records, what="live"):
                    await self._feed(record)
                await self._until(lambda: not self._ahead(), STUCK_S)
                seconds = time.perf_counter() - started
                reader.cancel()
        finally:
            await self._consumer.stop()
            await self._producer.stop()
        return Way("live", len(self._records), self.orders, self._ledger.books, seconds)

    async def _feed(self, record: Record) -> None:
        self._now_ms = record.timestamp_ms
        await self._publish(record.topic, record.partition, record.key, record.value)
        self._ledger.saw(record)
        message = decode(record.topic, record.value)
        assert not isinstance(message, Refusal), message
        await self._answer(self._matcher.saw(message, self._now_ms))
        window = WINDOW_IN_A_STORM if self._waiting else WINDOW
        if self._ahead() >= window:
            await self._producer.flush()
            await self._until(lambda: self._ahead() < window // 2, STUCK_S)

    def _ahead(self) -> int:
        """Records that are published and that the worker did not read yet."""
        return sum(max(0, count - self._read_on[place]) for place, count in self._published.items())

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def _read(self) -> None:
        while True:
            rows = await self._consumer.getmany(timeout_ms=100)
            for tp, batch in rows.items():
                for record in batch:
                    if tp.topic == JOURNAL:
                        self._note_read(decode_journal(record.value))
                    else:
                        await self._read_order(record.partition, record.offset, record.value)
            if rows:
                async with self._changed:
                    self._changed.notify_all()

    def _note_read(self, journal: JournalRecord) -> None:
        for entry in journal.inputs:
            if isinstance(entry, Read):
                place = (entry.topic, entry.partition)
                self._read_on[place] = max(self._read_on[place], entry.last + 1)
            elif isinstance(entry, Latest):
                for partition, _, last in entry.stretches:
                    self._read_on["prices", partition] = max(self._read_on["prices", partition], last + 1)

    async def _read_order(self, partition: int, offset: int, value: bytes) -> None:
        message = decode(ORDERS, value)
        if isinstance(message, Claim):
            self._epochs[partition] = offset
        elif isinstance(message, Order) and self._epochs.get(partition) == message.epoch:
            fresh = message.order_id not in self.orders
            self.orders[message.order_id] = message
            if fresh:
                self._waiting.add(message.order_id)
                await self._answer(self._matcher.ordered(message, self._now_ms))

    async def _answer(self, answers: Sequence[Answer]) -> None:
        """Publishes the answers; the ledger sees a fill when it is booked."""
        for answer in answers:
            if isinstance(answer, Fill):
                self._ledger.books.fill(answer)
            if isinstance(answer, OrderEvent) and answer.status in TERMINAL:
                self._waiting.discard(answer.order_id)
            partition = partition_of(answer.account, PARTITIONS)
            await self._publish(ANSWER_TOPICS[type(answer)], partition, answer.account.encode(), encode(answer))

    async def _publish(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        await self._producer.send(topic, value, key=key, partition=partition, timestamp_ms=self._now_ms)
        self._published[topic, partition] += 1


class Proof(NamedTuple):
    """The engine alone, given what the worker was given: how much it wrote, what of it did not come out again, and the tables."""

    written: int
    not_decided: int
    rows: int
    tables_agree: bool
    seconds: float


async def proved(bootstrap: str, redis_url: str) -> Proof:
    """Reads the tables, then all topics, and has the journal computed again."""
    async with Redis.from_url(redis_url) as client:
        table = RedisTable(client, TableSettings(PREFIX, ""))
        held = {p: dict((await table.load(p)).rows) for p in range(PARTITIONS)}
    records = await read_all(bootstrap)
    started = time.perf_counter()
    digests = {shard: rows_digest(rows.items()) for shard, rows in held.items()}
    recomputed = Recomputed(records, load_presets(), wanted=digests.items())
    for _ in watched(recomputed.run(), what="proof"):
        pass
    found = {shard: recomputed.versions.find(shard, digest) for shard, digest in digests.items()}
    return Proof(
        written=sum(1 for _ in recomputed.log.outputs()), not_decided=len(recomputed.not_decided()),
        rows=sum(map(len, held.values())), tables_agree=found == held, seconds=time.perf_counter() - started,
    )  # fmt: skip


async def read_all(bootstrap: str) -> list[Record]:
    """Everything that the topics hold now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(t.name, p) for t in TOPICS for p in range(t.partitions or PARTITIONS)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found: list[Record] = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, rows in (await consumer.getmany(timeout_ms=200, max_records=20_000)).items():
                found += [
                    Record(topic=tp.topic, partition=r.partition, offset=r.offset, timestamp_ms=r.timestamp, key=r.key, value=r.value)
                    for r in rows
                ]  # fmt: skip
        return found
    finally:
        await consumer.stop()


def _figures(way: Way) -> dict[str, Any]:
    lowest = way.books.lowest
    return {
        "records": way.records,
        "orders": len(way.orders),
        "liquidated_buckets": len({(order.account, order.bucket) for order in way.orders.values()}),
        "negative_buckets": dict(Counter(negative.cause for negative in way.books.negatives.values())),
        "seconds": round(way.seconds, 1),
        "lowest_equity": None if lowest is None else to_text(lowest[0]),
        "stages": dict(Counter(order.stage for order in way.orders.values())),
    }


async def _live(records: Sequence[Record]) -> tuple[Way, Proof]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringfence-live-")))
        kafka = KafkaServer({"log.message.timestamp.after.max.ms": str(LATEST_TIMESTAMP_MS)}, lasting=True)
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
            way = await LiveRun(kafka.bootstrap, records).run()
        except BaseException:
            print(worker.log_tail(), file=sys.stderr)
            raise
        finally:
            await worker.stop()
        return way, await proved(kafka.bootstrap, redis.url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--records", type=int, default=None, help="only so many from the start")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit, so that what was started is stopped
    records = moved(islice(read_file(str(arguments.recording)), arguments.records), time.time_ns() // 1_000_000)
    live, proof = asyncio.run(_live(records))
    replay = replayed(records)
    agree = proof.written > 0 and not proof.not_decided and proof.tables_agree
    result = {"agree": agree, "proof": proof._asdict(), "ways": {way.name: _figures(way) for way in (live, replay)}}
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    for way in (live, replay):
        for negative in way.books.negatives.values():
            print(f"{way.name}: {explain(negative)}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
