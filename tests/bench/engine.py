"""What a price tick costs an engine full of buckets, against a numpy scan of all of them; a fall of everything; and the memory of it.

Each size is a process of its own: a shard is restored from rows, as after a restart, then ticks and scans take turns, then every price
falls by five percent. The engine decodes the record, folds it, asks the certificate index, evaluates what left its box exactly and
redraws; the scan only multiplies and compares floats. Excluded: Kafka, Redis, encoding of orders.

`python -m tests.bench.engine 3000000` measures one size; `... growth` how a tick grows with instruments and positions.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from services.contracts.records import Record
from services.engine.effects import Effect, Emit
from services.engine.engine import Engine
from services.engine.rows import CODES, VERSION, AccountRow, BucketRow
from services.engine.settings import Settings
from services.liquidator.run import COLLECT
from tests.bench.figures import resident_bytes, row

SMALL, MIDDLE, LARGE = 10_000, 100_000, 1_000_000
TICKS, SCANS = 20_000, 20
SIGMA = 0.0002  # of one tick, relative
FALL = 0.05
BEGAN_MS = 1_700_000_000_000
SHARD = 6_250  # accounts that are restored at once: what that holds for a moment is the same at every size, and not in the slope
MAINTENANCE = "0.01"
USUAL: Final = (20, (2, 3))  # instruments, positions a bucket
_row = msgspec.msgpack.Encoder().encode


class Market:
    """An engine full of cross buckets, and the same positions as columns."""

    def __init__(self, buckets: int, instruments: int, held: tuple[int, ...]) -> None:
        self._dice = random.Random(buckets)
        self._buckets = buckets
        self._held = held
        self._offsets: dict[str, int] = {}
        self._now_ms = BEGAN_MS
        self.engine = Engine(Settings())
        self.marks = [1000.0] * instruments
        self._size = np.zeros((buckets, instruments), dtype=np.int8)
        self._cash = np.zeros(buckets)
        for number in range(instruments):
            tiers = [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": MAINTENANCE}]
            self._put(
                "instruments", instrument=f"I{number}", kind="perpetual", contract="linear", underlying="X",
                settlement_asset="USDT", margin_tiers=tiers, insurance_pool="pool",
            )  # fmt: skip
            self.tick(number)
        self._size.fill(0)
        self._cash.fill(0)  # touched, so that they are resident now
        self._baseline = resident_bytes()
        self.restore_s = 0.0
        for shard, first in enumerate(range(0, buckets, SHARD)):
            rows = list(self._rows(range(first, min(first + SHARD, buckets))))
            started = time.process_time()
            self.engine.restore(shard, rows)
            self.restore_s += time.process_time() - started
            del rows

    def columns(self) -> NDArray[np.float64]:
        """Signed sizes by bucket and instrument."""
        return self._size.astype(np.float64)

    def resident(self) -> int:
        """Bytes that the engine took, without the columns of the scan."""
        gc.collect()
        return resident_bytes() - self._baseline

    def _rows(self, numbers: range) -> Iterator[tuple[str, bytes]]:
        """Two rows an account, as the tables hold them."""
        dice = self._dice
        for number in numbers:
            name, held = f"a{number}", dice.choice(self._held)
            positions: dict[str, tuple[str, str]] = {}
            cash = held * 1000 * dice.uniform(0.03, 0.5)
            for instrument in dice.sample(range(len(self.marks)), held):
                side = dice.choice((1, -1))
                self._size[number, instrument] = side
                positions[f"I{instrument}|net"] = (str(side), "1000")
                cash -= side * 1000
            self._cash[number] = cash
            seen = {CODES["accounts"]: (0, number), CODES["fills"]: (0, 3 * number), CODES["transfers"]: (0, number)}
            recent = {
                CODES["transfers"]: {f"t{number}": dice.getrandbits(56)},
                CODES["fills"]: {f"f{number}-{nth}": dice.getrandbits(56) for nth in range(held)},
            }
            account = AccountRow(
                version=VERSION, known=True, provisional=False, client=name, segregation="client", margin_mode="cross",
                margin_preset=None, valuation_asset="USDT", first_seen_ms=BEGAN_MS - 100_000, recent=recent, parked=[], sequences=[],
                sequence_gap_since_ms=None, time_ms=BEGAN_MS - 5_000, touched_ms=BEGAN_MS - 5_000, seen=seen,
            )  # fmt: skip
            bucket = BucketRow(
                version=VERSION, balances={"USDT": f"{cash:.2f}"}, locked={}, positions=positions, status="healthy", attempts={},
                orders={}, doubts={}, tries={}, defaulted=False,
            )  # fmt: skip
            yield f"{name}|", _row(account)
            yield f"{name}|main", _row(bucket)

    def tick(self, instrument: int) -> float:
        """Move one price and tell the engine; answers what that took, in seconds."""
        self._now_ms += 1
        self.marks[instrument] *= 1 + self._dice.gauss(0, SIGMA)
        self._put("prices", instrument=f"I{instrument}", mark_price=f"{self.marks[instrument]:.6f}")
        return self.took

    def fall(self, instrument: int) -> tuple[float, list[float], int]:
        """One price falls, in pieces as a worker has them: seconds of all, of each, and how many orders came of it."""
        self._now_ms += 1
        self.marks[instrument] *= 1 - FALL
        record = self._record("prices", instrument=f"I{instrument}", mark_price=f"{self.marks[instrument]:.6f}")
        blocks, effects, work = list[float](), list[Effect](), self.engine.applying([record])
        while work is not None:
            started = time.perf_counter()
            try:
                effects += next(work).effects
            except StopIteration as end:
                effects += end.value.effects
                work = None
            blocks.append(time.perf_counter() - started)
        orders = sum(isinstance(each, Emit) and each.topic == "liquidation-orders" for each in effects)
        return sum(blocks), blocks, orders

    def scan(self, size: NDArray[np.float64]) -> float:
        """Equity and maintenance margin of every bucket as columns, and which are under; seconds."""
        marks: NDArray[np.float64] = np.array(self.marks)
        started = time.perf_counter()
        equity = self._cash + size @ marks
        maintenance = np.abs(size) @ marks * float(MAINTENANCE)
        np.flatnonzero(equity < maintenance)
        return time.perf_counter() - started

    def _put(self, topic: str, **value: object) -> None:
        record = self._record(topic, **value)
        started = time.perf_counter()
        self.engine.apply(record)
        self.took = time.perf_counter() - started

    def _record(self, topic: str, **value: object) -> Record:
        offset = self._offsets.get(topic, -1) + 1
        self._offsets[topic] = offset
        raw = orjson.dumps({"ts_ms": self._now_ms} | value)
        return Record(topic=topic, partition=0, offset=offset, timestamp_ms=self._now_ms, key=None, value=raw)


class Measured(msgspec.Struct):
    """Times in microseconds but where they say otherwise."""

    buckets: int
    mean: float
    median: float
    p99: float
    p999: float
    worst: float
    scan: float
    bytes_a_bucket: float
    total_bytes: int
    restore_s: float
    fall_s: float
    fall_block_ms: float
    fall_blocks: int
    orders: int


def measure(buckets: int, instruments: int = USUAL[0], held: tuple[int, ...] = USUAL[1]) -> Measured:
    gc.set_threshold(*COLLECT)  # as a worker does
    market = Market(buckets, instruments, held)
    market.tick(0)  # who is already at a threshold is dealt with before the clock runs
    total = market.resident()
    gc.freeze()
    columns = market.columns()
    ticks, scans = [], []
    for number in range(TICKS):
        ticks.append(market.tick(number % instruments) * 1e6)
        if number % (TICKS // SCANS) == 0:
            scans.append(market.scan(columns) * 1e6)
    seconds, orders, blocks = 0.0, 0, list[float]()
    for instrument in range(instruments):
        took, each, decided = market.fall(instrument)
        seconds, orders = seconds + took, orders + decided
        blocks += each
    quantiles = statistics.quantiles(ticks, n=1000)
    return Measured(
        buckets, statistics.fmean(ticks), statistics.median(ticks), quantiles[989], quantiles[998], max(ticks), statistics.median(scans), total / buckets, total,
        market.restore_s, seconds, max(blocks) * 1000, len(blocks), orders,
    )  # fmt: skip


def apart(buckets: int, instruments: int = USUAL[0], held: tuple[int, ...] = USUAL[1]) -> Measured:
    """`measure` in a process of its own, so that memory is its own."""
    command = [sys.executable, "-m", "tests.bench.engine", "one", json.dumps([buckets, instruments, list(held)])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = msgspec.json.decode(done.stdout, type=Measured)
    print(
        f"bench: {found.buckets} buckets, {instruments} instruments, {held} positions: tick mean {found.mean:.0f} us, p50 {found.median:.1f}, p99 {found.p99:.0f}, "
        f"p99.9 {found.p999:.0f}; {found.bytes_a_bucket:.0f} bytes a bucket; restored in {found.restore_s:.1f} s of CPU; "
        f"fall {found.fall_s:.1f} s, {found.orders} orders, longest of {found.fall_blocks} pieces {found.fall_block_ms:.1f} ms",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return found


def main() -> None:
    small, middle, large = apart(SMALL), apart(MIDDLE), apart(LARGE)
    ticks = f"tick p50 {large.median:.1f} us, mean {large.mean:.0f}, p99 {large.p99:.0f}, p99.9 {large.p999:.0f}; scan {large.scan:.0f} us; {USUAL[0]} instruments"
    row(
        "a tick is this many times cheaper than a numpy scan, p50, 1M buckets",
        large.scan / large.median,
        ">= 3000",
        ticks,
    )
    growth = ", ".join(f"{m.buckets}: p50 {m.median:.1f} us, p99.9 {m.p999:.0f} us" for m in (small, middle, large))
    row("tick p50 at 1M buckets / at 10k", large.median / small.median, "<= 1.5", growth)
    fall = f"{large.orders} orders; {large.restore_s:.1f} s of CPU to restore"
    row("5 % fall of all instruments over 1M buckets, seconds until the last decision", large.fall_s, "<= 1", fall)
    row("longest single block in that fall, ms", large.fall_block_ms, "<= 5", f"{large.fall_blocks} pieces")
    slope = (large.total_bytes - middle.total_bytes) / (LARGE - MIDDLE)
    memory = f"{middle.total_bytes / 2**20:.0f} MiB at {MIDDLE}, {large.total_bytes / 2**20:.0f} MiB at {LARGE}"
    row("bytes of memory a bucket of 2.5 positions, slope from 100k to 1M", slope, "<= 400", memory)


def grow() -> None:
    """By instruments, and by positions a bucket."""
    few, some, many = (apart(MIDDLE, instruments, (2, 3)) for instruments in (10, 100, 1_000))
    detail = ", ".join(f"{m.median:.1f} us" for m in (few, some, many))
    row(
        "tick p50 with 1,000 instruments / with 10, 100k buckets",
        many.median / few.median,
        "<= 1.5",
        f"10, 100, 1,000: {detail}",
    )
    one, ten, hundred = (apart(SMALL, 200, (held,)) for held in (1, 10, 100))
    detail = ", ".join(f"{m.median:.1f} us, {m.bytes_a_bucket:.0f} B" for m in (one, ten, hundred))
    row(
        "tick p50 with 100 positions a bucket / with 1, 10k buckets",
        hundred.median / one.median,
        "<= 5",
        f"1, 10, 100: {detail}",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        count, instruments, held = json.loads(sys.argv[2])
        print(msgspec.json.encode(measure(count, instruments, tuple(held))).decode())
    elif sys.argv[1:2] == ["growth"]:
        grow()
    elif sys.argv[1:]:
        apart(int(sys.argv[1]))
    else:
        main()
