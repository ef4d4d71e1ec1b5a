"""`python -m tests.chaos --minutes 10 --seed 7`: rounds of a few minutes each, with servers of their own; one line at the end."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.chaos.faults import BAG
from tests.chaos.world import Outcome, Size, run, tell, total


def rounds(minutes: float, longest: float) -> list[float]:
    """The minutes of each round: what a round leaves behind has to be held in memory to be judged."""
    count = max(1, -(-int(minutes * 60) // int(longest * 60)))
    return [minutes / count] * count


def explain(outcome: Outcome) -> None:
    tell(f"seed {outcome.seed}: {len(outcome.found)} found")
    for text in outcome.found[:20]:
        tell(f"  {text}")
    tell("faults:\n  " + "\n  ".join(outcome.faults))
    tell(outcome.logs)
    tell(outcome.reason())
    tell(f"again: python -m tests.chaos --minutes {outcome.minutes:g} --seed {outcome.seed} and the same sizes")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--minutes", type=float, default=1.0, help="of faults, all rounds together")
    parser.add_argument("--round", type=float, default=5.0, help="minutes of one round at the most")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the others have the next ones")
    parser.add_argument("--workers", type=int, default=Size.workers)
    parser.add_argument("--standbys", type=int, default=Size.standbys)
    parser.add_argument("--accounts", type=int, default=Size.accounts)
    parser.add_argument("--fills", type=int, default=Size.fills_per_s, help="a second")
    parser.add_argument("--only", default="", help="these kinds of faults, separated by commas")
    parser.add_argument("--keep", type=Path, help="where to save the topics as a recording, if a fault was found")
    given = parser.parse_args()
    only = frozenset(given.only.split(",")) - {""}
    if unknown := only - set(BAG):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}; there are {', '.join(BAG)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker is away, we know
    size = Size(
        workers=given.workers, standbys=given.standbys, accounts=given.accounts, fills_per_s=given.fills,
        only=only, keep=given.keep,
    )  # fmt: skip
    done: list[Outcome] = []
    for number, minutes in enumerate(rounds(given.minutes, given.round)):
        done.append(run(given.seed + number, minutes, size))
        tell(done[-1].line())
        if done[-1].found:
            explain(done[-1])
            break
    print(total(done).line())
    return int(any(outcome.found for outcome in done))


if __name__ == "__main__":
    sys.exit(main())
