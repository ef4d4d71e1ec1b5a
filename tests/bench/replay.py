"""What a replay of a real recording costs: the crash of 2025-10-10, every trade of eight perpetuals as a tick, in JSON Lines.

The same ticks twice: with 2 accounts, so that what is measured is the way of a record (read, decoded, held against the nearest box,
put in use), and with 20, highly leveraged, where hundreds of orders are decided, answered and booked. Processor time of reading
and replaying with the fast engine in one process; excluded: making the recording, the check before the first record, output.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from services.adapters.recordings import Recording
from services.replay.choices import Matching
from services.replay.session import Plan, drive, prepare
from services.replay.what_if import WhatIf
from tests.recordings.catalogue import RECORDINGS
from tests.recordings.writing import Missing, default_data, write

NAME = "coinm-linear"
REACHES = {2: ">= 300000", 20: ">= 0"}


def replayed(path: Path) -> tuple[int, float, str]:
    """Records, seconds of the processor that reading and replaying them took, and what came of it."""
    with Recording(str(path)) as recording:
        recording.check()
        plan = Plan(recording=recording, matching=Matching.NEXT)
        runs = prepare(plan, [WhatIf()])
        began = time.process_time()
        (summary,) = drive(plan, runs, [lambda _: None])
        took = time.process_time() - began
    told = f"{summary.records} records, {summary.accounts} accounts, {summary.orders} orders, state {summary.state_hash[:12]}"
    return summary.records, took, told


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
        for accounts, reach in REACHES.items():
            path = Path(folder) / f"{accounts}.jsonl"
            try:
                write(path, RECORDINGS[NAME].records(default_data(), accounts, 1))
            except Missing as missing:
                print(missing, file=sys.stderr)
                return
            records, took, told = replayed(path)
            figure = f"replay records a second of a real recording, {accounts} accounts"
            row = {
                "figure": figure,
                "value": round(records / took),
                "reach": reach,
                "detail": f"{NAME} 2025-10-10: {told}",
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
