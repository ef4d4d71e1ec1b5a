"""What a price tick costs the engine, against a numpy scan of every bucket, and how that grows with the number of buckets.

One process, one run: ticks of the engine and scans alternate. The engine decodes the record, folds it, asks the certificate
index, evaluates what left its box exactly and redraws; the scan only multiplies and compares floats. Excluded: Kafka, Redis.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time

import numpy as np
import orjson

from services.contracts.records import Record
from services.engine.engine import Engine
from services.engine.settings import Settings

INSTRUMENTS = 20
TICKS = 4_000
SIZES = (10_000, 100_000)
SIGMA = 0.0002  # of one tick, relative


class Market:
    """An engine full of cross buckets with 2.5 positions each, and the same positions as columns."""

    def __init__(self, buckets: int) -> None:
        self._dice = random.Random(buckets)
        self._offsets: dict[str, int] = {}
        self.engine = Engine(Settings())
        self.marks = [1000.0] * INSTRUMENTS
        self._size = np.zeros((buckets, INSTRUMENTS))
        self._cash = np.zeros(buckets)
        for number in range(INSTRUMENTS):
            tiers = [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}]
            self._put(
                "instruments", instrument=f"I{number}", kind="perpetual", contract="linear", underlying="X",
                settlement_asset="USDT", margin_tiers=tiers,
            )  # fmt: skip
            self.tick(number)
        for number in range(buckets):
            self._open(number)

    def _open(self, number: int) -> None:
        account, held = f"a{number}", self._dice.choice((2, 3))
        self._put("accounts", account=account, margin_mode="cross", valuation_asset="USDT")
        for instrument in self._dice.sample(range(INSTRUMENTS), held):
            side = self._dice.choice((1, -1))
            self._size[number, instrument] = side
            self._cash[number] -= side * 1000
            self._put(
                "fills", fill_id=f"f{number}-{instrument}", account=account, instrument=f"I{instrument}",
                side="buy" if side > 0 else "sell", quantity="1", price="1000",
            )  # fmt: skip
        deposit = held * 1000 * self._dice.uniform(0.03, 0.5)
        self._cash[number] += deposit
        self._put(
            "transfers",
            transfer_id=f"t{number}",
            account=account,
            asset="USDT",
            amount=f"{deposit:.2f}",
            reason="deposit",
        )

    def tick(self, instrument: int) -> float:
        """Move one price and tell the engine; answers what that took, in seconds."""
        self.marks[instrument] *= 1 + self._dice.gauss(0, SIGMA)
        return self._put("prices", instrument=f"I{instrument}", mark_price=f"{self.marks[instrument]:.6f}")

    def scan(self) -> float:
        """Equity and maintenance margin of every bucket as columns, and which are under; seconds."""
        marks = np.array(self.marks)
        started = time.perf_counter()
        equity = self._cash + self._size @ marks
        maintenance = np.abs(self._size) @ marks * 0.01
        np.flatnonzero(equity < maintenance)
        return time.perf_counter() - started

    def _put(self, topic: str, **value: object) -> float:
        offset = self._offsets.get(topic, -1) + 1
        self._offsets[topic] = offset
        raw = orjson.dumps({"ts_ms": 1} | value)
        record = Record(topic=topic, partition=0, offset=offset, timestamp_ms=1, key=None, value=raw)
        started = time.perf_counter()
        self.engine.apply(record)
        return time.perf_counter() - started


def measure(buckets: int) -> tuple[float, float, float, float]:
    """Median, p99 and mean of a tick, and the median scan, in microseconds."""
    market = Market(buckets)
    gc.collect()
    gc.freeze()
    ticks, scans = [], []
    for number in range(TICKS):
        ticks.append(market.tick(number % INSTRUMENTS) * 1e6)
        if number % 40 == 0:
            scans.append(market.scan() * 1e6)
    gc.unfreeze()
    return (
        statistics.median(ticks),
        statistics.quantiles(ticks, n=100)[98],
        statistics.fmean(ticks),
        statistics.median(scans),
    )


def main() -> None:
    found = {buckets: measure(buckets) for buckets in SIZES}
    for buckets, (median, p99, mean, scan) in found.items():
        detail = f"tick p50 {median:.1f} us, p99 {p99:.0f} us, mean {mean:.0f} us; scan {scan:.0f} us; {INSTRUMENTS} instruments"
        row(
            "a tick is this many times cheaper than a numpy scan, p50, " + f"{buckets} buckets",
            scan / median,
            ">= 1",
            detail,
        )
    small, large = found[SIZES[0]], found[SIZES[1]]
    growth = f"p50 {small[0]:.1f} us at {SIZES[0]}, {large[0]:.1f} us at {SIZES[1]}"
    row(f"tick p50 at {SIZES[1]} buckets / at {SIZES[0]}", large[0] / small[0], "<= 3", growth)


def row(figure: str, value: float, reach: str, detail: str) -> None:
    print(json.dumps({"figure": figure, "value": round(value, 2), "reach": reach, "detail": detail}), flush=True)


if __name__ == "__main__":
    main()
