"""Two publishers on the real Kafka: one writes, and when it is killed the other goes on from the topic's own records."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.topic_reader import read_whole
from services.contracts.codec import decode
from services.contracts.messages import RiskParameters
from services.contracts.records import Record
from services.risk.writer import Deposed, Writer
from tests.integration.venue import Venue, until
from tests.integration.worker_process import PROGRAM, ROOT, WorkerProcess
from tests.support.kafka import KafkaServer

STEP_MS, NOTICE_MS = 300, 700
ELECTED, TERM_ENDED = '"event": "elected"', '"event": "term_ended"'


class PublisherProcess(WorkerProcess):
    """`ringfence risk`; steps of 0.3 s, a new record at each."""

    def __init__(self, folder: Path, name: str, bootstrap: str, prefix: str) -> None:
        super().__init__(folder, name, bootstrap, "redis://127.0.0.1:1", prefix)
        with self.config.open("a") as file:
            file.write(
                f'[risk]\ngroup = "{prefix}risk"\nstep_ms = {STEP_MS}\nsample_ms = 50\nnotice_ms = {NOTICE_MS}\n'
                'refresh_ms = 0\nhalf_life_ms = 2000\ncap = "3"\nclose_out_ms = 500\nmax_up = "0.25"\nz = "10"\n'
            )

    async def start(self, *flags: str, ready: bool = True) -> PublisherProcess:
        with self.log_path.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, "risk", "--config", str(self.config), *flags,
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        if ready:
            await until(f"{self.name} is ready\n{self.log()}", self.is_ready)
        return self

    def is_elected(self) -> bool:
        return self.log().count(ELECTED) > self.log().count(TERM_ENDED)


async def written(kafka: KafkaServer, prefix: str) -> list[RiskParameters]:
    records = await read_whole(KafkaConnection(bootstrap=kafka.bootstrap), f"{prefix}risk-parameters")
    found = [decode("risk-parameters", record.value) for record in records]
    assert all(isinstance(each, RiskParameters) for each in found)
    return [each for each in found if isinstance(each, RiskParameters)]


async def trade(venue: Venue, stop: asyncio.Event) -> None:
    """A mark each 50 ms, up and down by 1 %."""
    number = 0
    while not stop.is_set():
        number += 1
        await venue.price(50_000 if number % 2 else 50_500)
        await asyncio.sleep(0.05)


async def test_a_kill_hands_over_without_gap_or_repetition(
    kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    async with Venue(kafka.bootstrap, topic_prefix) as venue:
        both = [PublisherProcess(tmp_path, name, kafka.bootstrap, topic_prefix) for name in ("one", "two")]
        stop = asyncio.Event()
        trading = asyncio.ensure_future(trade(venue, stop))

        async def has(count: int) -> bool:
            return len(await written(kafka, topic_prefix)) >= count

        try:
            await both[0].start()
            await until("the first publishes", lambda: has(2))
            await both[1].start()
            await until("one of two is elected", lambda: _is(any(each.is_elected() for each in both)))
            before = len(await written(kafka, topic_prefix))
            await until("it goes on beside a stand-by", lambda: has(before + 2))
            await until("one is elected", lambda: _is(sum(each.is_elected() for each in both) == 1))
            victim, heir = sorted(both, key=lambda each: not each.is_elected())
            await victim.kill()
            before = len(await written(kafka, topic_prefix))
            await until(f"the other goes on\n{heir.log()}", lambda: has(before + 3))
            assert await heir.metric("ringfence_risk_elected") == 1
            assert await heir.metric("ringfence_risk_multiplier") > 1
            assert await heir.metric("ringfence_risk_variance") > 0
            assert await heir.terminate() == 0, heir.log()
        finally:
            stop.set()
            await trading
            for each in both:
                await each.kill()
        check_one_line_of_succession(await written(kafka, topic_prefix), await venue.read_all(["prices"]))


async def test_who_wakes_up_deposed_writes_nothing(kafka: KafkaServer, topic_prefix: str, tmp_path: Path) -> None:
    """Frozen through its own removal: the other goes on, and what the first writes after it wakes up is refused."""
    async with Venue(kafka.bootstrap, topic_prefix) as venue:
        sleeper, heir = (PublisherProcess(tmp_path, name, kafka.bootstrap, topic_prefix) for name in ("one", "two"))
        stop = asyncio.Event()
        trading = asyncio.ensure_future(trade(venue, stop))

        async def has(count: int) -> bool:
            return len(await written(kafka, topic_prefix)) >= count

        try:
            await sleeper.start()
            await until("the first publishes", lambda: has(2))
            await heir.start()
            await until("the first is elected still", lambda: _is(sleeper.is_elected()))
            ended = sleeper.log().count(TERM_ENDED)
            sleeper.freeze()
            before = len(await written(kafka, topic_prefix))
            await until(f"the other goes on\n{heir.log()}", lambda: has(before + 3))
            sleeper.thaw()
            await until("the first knows", lambda: _is(sleeper.log().count(TERM_ENDED) > ended))
            before = len(await written(kafka, topic_prefix))
            await until("one of them goes on", lambda: has(before + 3))
            await until("one is elected", lambda: _is(sum(each.is_elected() for each in (sleeper, heir)) == 1))
        finally:
            stop.set()
            await trading
            for each in (sleeper, heir):
                await each.kill()
        check_one_line_of_succession(await written(kafka, topic_prefix), await venue.read_all(["prices"]))


def check_one_line_of_succession(records: list[RiskParameters], prices: list[Record]) -> None:
    """As if one process had written them: ascending, each step within its limit and told beforehand."""
    assert [r.effective_ms for r in records] == sorted({r.effective_ms for r in records}), "older or twice"
    assert max(Counter(tuple(r.as_of or ()) for r in records).values()) == 1, "two records of one tick"
    assert [r.ts_ms for r in records] == sorted(r.ts_ms for r in records)
    at = {record.offset: record.timestamp_ms for record in prices}
    for record in records:
        assert record.as_of is not None
        assert record.effective_ms == record.ts_ms + NOTICE_MS
        assert record.ts_ms == at[record.as_of[1]]
    multipliers = [1.0, *(float(r.multiplier) for r in records)]
    assert all(now - then <= 0.25 + 1e-9 for then, now in pairwise(multipliers))
    assert max(multipliers) == 3.0, "1 % each 50 ms demands the cap"


async def test_who_is_fenced_writes_nothing(kafka: KafkaServer, topic_prefix: str) -> None:
    """A publisher that slept through its removal, and wakes up between two records of the next."""
    connection, topic = KafkaConnection(bootstrap=kafka.bootstrap), f"{topic_prefix}risk-parameters"
    async with Venue(kafka.bootstrap, topic_prefix):
        old, new = Writer(connection, topic), Writer(connection, topic)
        await old.start()
        await old.write([_record("1.1")])
        await new.start()
        try:
            await old.write([_record("9")])
        except Deposed:
            deposed = True
        else:
            deposed = False
        await new.write([_record("1.2")])
        await old.stop()
        await new.stop()
    assert deposed
    assert [each.multiplier for each in await written(kafka, topic_prefix)] == ["1.1", "1.2"]


def _record(multiplier: str) -> RiskParameters:
    return RiskParameters(instrument="BTC-PERP", multiplier=multiplier, effective_ms=1, ts_ms=1)


async def _is(answer: bool) -> bool:
    return answer
