"""All benchmarks, one after the other, as JSON Lines: `make bench`, or `make bench ARGS=engine` for some of them.

Each runs in its own process, so that none measures what another left behind. The rows are {"figure", "value", "reach", "detail"}.
"""

from __future__ import annotations

import json
import operator
import subprocess
import sys

BENCHMARKS = (
    "engine",
    "fills",
    "latency",
    "portfolio",
    "ready",
    "recordings",
    "replay",
    "restore",
    "storm",
    "transport",
)
TIMEOUT_S = 600
COMPARE = {">=": operator.ge, "<=": operator.le}


def main(chosen: list[str]) -> int:
    """Run them; 1 if a figure was not reached, 2 if one of that name does not exist."""
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark is called {unknown[0]}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    missed = reached = 0
    for name in chosen or BENCHMARKS:
        print(f"bench: {name} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"tests.bench.{name}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True)
        for line in done.stdout.splitlines():
            print(line, flush=True)
            sign, bound = json.loads(line)["reach"].split()
            kept = COMPARE[sign](json.loads(line)["value"], float(bound))
            reached, missed = reached + kept, missed + (not kept)
    print(f"bench: {reached} figures reached, {missed} not", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
