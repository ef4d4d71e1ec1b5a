"""Run histories: `python -m tests.simulation --seeds 1000 --processes 2`, `--seed 7 --verbose`, `--campaign`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count, islice

from tests.simulation.faults import CRASH_POINTS
from tests.simulation.world import Outcome, World


def run_seed(seed: int, only: frozenset[str] | None, *, standby: bool) -> Outcome:
    return World(seed, only=only, standby=standby).run()


def outcomes(seeds: Iterator[int], processes: int, only: frozenset[str] | None, *, standby: bool) -> Iterator[Outcome]:
    """In order of the seeds, a few ahead of who reads."""
    work = partial(run_seed, only=only, standby=standby)
    if processes == 1:
        yield from map(work, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        while chunk := list(islice(seeds, 16 * processes)):
            yield from pool.map(work, chunk, chunksize=4)


def tell(outcome: Outcome) -> None:
    print(f"seed {outcome.seed}: {outcome.violation}\nlast events:")
    print("\n".join(outcome.events))
    print(f"again: python -m tests.simulation --seed {outcome.seed} --verbose (and --standby, if it was given)")


def summary(done: list[Outcome], elapsed: float) -> str:
    faults: Counter[str] = Counter()
    for outcome in done:
        faults.update({name: n for name, n in outcome.faults.items() if "@" not in name})
        for name, n in outcome.faults.items():
            if "@" in name:
                faults["at_crash_points"] += n
    failed = [outcome.seed for outcome in done if outcome.violation is not None]
    simulated = sum(outcome.simulated_s for outcome in done)
    alarms = sum((outcome.alarms for outcome in done), Counter[str]())
    seen = " ".join(
        f"{name}={alarms[name]}"
        for name in ("snapshot_written", "restored_from_snapshot", "table_damaged", "hole", "taken_over")
    )
    hits = [
        sum(n for o in done for name, n in o.faults.items() if name.partition("@")[2] in hooks)
        for hooks in CRASH_POINTS.values()
    ]
    kinds = " ".join(f"{name}={n}" for name, n in sorted(faults.items()))
    return (
        f"seeds={len(done)} failed={len(failed)} faults={faults.total()} simulated_s={simulated:.0f} wall_s={elapsed:.0f} "
        f"fills={sum(o.fills for o in done)} orders={sum(o.orders for o in done)} executed={sum(o.executed for o in done)} void={sum(o.void for o in done)} {seen} crash_points={len(hits)} each_hit_at_least={min(hits)} | {kinds}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--campaign", action="store_true", help="until stopped, from --first on")
    parser.add_argument("--only", help="these kinds of faults, separated by commas")
    parser.add_argument("--standby", action="store_true", help="with a hot standby")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="tell the last events in any case")
    given = parser.parse_args()
    if given.seed is not None:
        seeds: Iterator[int] = iter([given.seed])
    else:
        seeds = count(given.first) if given.campaign else iter(range(given.first, given.first + given.seeds))
    started, done = time.monotonic(), []
    try:
        for outcome in outcomes(
            seeds, given.processes, frozenset(given.only.split(",")) if given.only else None, standby=given.standby
        ):
            done.append(outcome)
            if outcome.violation is not None or given.verbose:
                tell(outcome)
            if given.campaign and len(done) % 500 == 0:
                print(summary(done, time.monotonic() - started), flush=True)
    except KeyboardInterrupt:
        pass
    print(summary(done, time.monotonic() - started))
    return int(any(outcome.violation is not None for outcome in done))


if __name__ == "__main__":
    sys.exit(main())
