"""Portfolio margin: bucket evaluations a second, one JSON line a figure on standard output.

Every evaluation reprices each option under each of the 31 scenarios of `derive-pm2` and ends in the worst scenario and the
greeks. "one call a bucket" is what a single tick costs, "in a batch" what a sweep over many buckets costs each.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from services.engine.portfolio import (
    Bucket,
    Expiry,
    OptionLeg,
    Perpetual,
    Underlying,
    evaluate,
    evaluate_many,
    parse_preset,
)

PRESET = Path(__file__).resolve().parents[2] / "services" / "presets" / "derive-pm2.json"
SECONDS = 2.0
ROUNDS = 3
BATCH = 200
REACH = {10: 1000, 100: 1000}  # options to the least rate


def bucket(options: int, seed: int) -> Bucket:
    """A hedged book: strikes around the forward, ten to an expiry, longs and shorts, one perpetual."""
    expiries = [
        Expiry(
            seconds_to_expiry=86400.0 * (3 + 25 * number),
            forward=100_000.0 + 400.0 * number,
            rate=0.04,
            legs=[
                OptionLeg(
                    instrument=f"{number}-{index}",
                    is_call=(index + seed) % 2 == 0,
                    strike=80_000.0 + 4_000.0 * index,
                    amount=(-1.0) ** index * (1.0 + 0.1 * ((seed + index) % 7)),
                    volatility=0.45 + 0.01 * index,
                )
                for index in range(10)
            ],
        )
        for number in range(options // 10)
    ]
    underlying = Underlying(
        name="BTC", spot=100_000.0, perpetuals=[Perpetual(amount=-0.5, mark=100_020.0)], expiries=expiries
    )
    return Bucket(cash=250_000.0, underlyings=[underlying])


def best_rate(work: Callable[[], int]) -> float:
    """Units a second, of the best of a few rounds: the others measure what else the machine did."""
    work()
    rates = []
    for _ in range(ROUNDS):
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS / ROUNDS:
            done += work()
        rates.append(done / elapsed)
    return max(rates)


def main() -> None:
    preset, _ = parse_preset(PRESET.read_bytes(), PRESET.stem)
    for options, reach in REACH.items():
        buckets = [bucket(options, seed) for seed in range(BATCH)]
        one = buckets[0]

        def single(one: Bucket = one) -> int:
            evaluate(preset, one.cash, one.underlyings)
            return 1

        def batch(buckets: list[Bucket] = buckets) -> int:
            return len(evaluate_many(preset, buckets))

        for way, work in (("one call a bucket", single), ("in a batch", batch)):
            row = {
                "figure": f"portfolio margin, {options} options: bucket evaluations a second, {way}",
                "value": round(best_rate(work), 1),
                "reach": f">= {reach}",
                "detail": f"{len(preset.scenarios)} scenarios and basis, greeks included; batches of {BATCH}",
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
