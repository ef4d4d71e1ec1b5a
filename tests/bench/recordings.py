"""What a recording costs: written to Parquet, read back in its one order, and run through the engine; and the memory of it.

Generated: 16 partitions of the account topics and 20 instruments, a tick every millisecond, deposits among them. Each figure is
of a process of its own, reading and writing in its processor time. `python -m tests.bench.recordings 10000000` also replays 10 million records, which takes a while;
without a number a million are written and read. Excluded: Kafka.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from services.adapters.recordings import Recording
from services.adapters.recordings_manifest import Manifest, schema_version
from services.adapters.recordings_rows import Row
from services.adapters.recordings_writer import SPILL_BYTES, open_folder
from services.contracts.identifiers import partition_of
from tests.bench.figures import row as print_row

PARTITIONS, INSTRUMENTS, ACCOUNTS = 16, 20, 400
BEGAN_MS = 1_700_000_000_000
FILE_BYTES = 16 * 1024 * 1024
SMALL, USUAL = 100_000, 1_000_000
TIERS = '[{"notional_floor":"0","initial_margin_rate":"0.02","maintenance_margin_rate":"0.01"}]'


def generated() -> Iterator[Row]:
    """Reference data, accounts that hold one long each, then ticks for ever, one record in 50 a transfer."""
    offsets: dict[tuple[str, int], int] = {}

    def row(topic: str, key: str, value: str, time_ms: int) -> Row:
        partition = partition_of(key, PARTITIONS) if topic in ("accounts", "transfers", "fills") else 0
        offset = offsets[topic, partition] = offsets.get((topic, partition), -1) + 1
        return Row(
            topic=topic, partition=partition, offset=offset, timestamp_ms=time_ms, key=key.encode(), value=value.encode(),
            headers=(("content-type", b"application/json"),),
        )  # fmt: skip

    for number in range(INSTRUMENTS):
        yield row("instruments", f"I{number}", (
            f'{{"instrument":"I{number}","kind":"perpetual","contract":"linear","underlying":"X","settlement_asset":"USDT",'
            f'"margin_tiers":{TIERS},"ts_ms":{BEGAN_MS}}}'
        ), BEGAN_MS)  # fmt: skip
    for number in range(ACCOUNTS):
        name = f"a{number}"
        yield row("accounts", name, f'{{"account":"{name}","margin_mode":"cross","valuation_asset":"USDT"}}', BEGAN_MS)
        yield row("fills", name, (
            f'{{"fill_id":"f{number}","account":"{name}","instrument":"I{number % INSTRUMENTS}","side":"buy","quantity":"1",'
            f'"price":"1000","ts_ms":{BEGAN_MS}}}'
        ), BEGAN_MS)  # fmt: skip
    number = 0
    while True:
        number += 1
        time_ms = BEGAN_MS + number
        if number <= ACCOUNTS or number % 50 == 0:
            name = f"a{number % ACCOUNTS}"
            yield row("transfers", name, (
                f'{{"transfer_id":"t{number}","account":"{name}","asset":"USDT","amount":"500","reason":"deposit","ts_ms":{time_ms}}}'
            ), time_ms)  # fmt: skip
        else:
            mark = f"{1000 + (number // 1_000 * 7919 % 201 - 100) / 1000:.3f}"
            yield row("prices", f"I{number % INSTRUMENTS}", (
                f'{{"instrument":"I{number % INSTRUMENTS}","mark_price":"{mark}","index_price":"{mark}{number * 48_271 % 99_991:05}","sequence":{number},'
                f'"source":"venue","ts_ms":{time_ms}}}'
            ), time_ms)  # fmt: skip


def write(folder: Path, records: int) -> float:
    """Seconds of the processor that the writer took for so many generated records; generating them is not counted."""
    accounts = dict.fromkeys(range(PARTITIONS), 0)
    starts = {"instruments": {0: 0}, "prices": {0: 0}, "accounts": accounts, "fills": accounts, "transfers": accounts}
    manifest = Manifest(
        cluster="bench", prefix="", schemas={topic: schema_version(topic) for topic in starts}, starts=starts
    )
    rows, took = islice(generated(), records), 0.0
    with open_folder(folder, manifest) as writer:
        while piece := list(islice(rows, 20_000)):
            began = time.process_time()
            for row in piece:
                writer.add((row.topic, row.partition), [row])
            if writer.held_bytes >= SPILL_BYTES:
                writer.spill()
            if writer.file_bytes >= FILE_BYTES:
                writer.commit()
            took += time.process_time() - began
        began = time.process_time()
        writer.commit()
        return took + time.process_time() - began


def read(folder: Path) -> dict[str, float]:
    """Every record in order, nothing kept."""
    began = time.process_time()
    with Recording(str(folder)) as recording:
        recording.check()
        checked = time.process_time()
        records = sum(1 for _ in recording.records())
    return {
        "records": records,
        "check_s": checked - began,
        "read_s": time.process_time() - checked,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """The most memory that this process ever held; `getrusage` would count what its parent held when it began."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def replay(folder: Path) -> dict[str, float]:
    """`ringfence replay` with the fast engine, its output thrown away but for the summary."""
    command = [
        sys.executable,
        "-c",
        "from services.cli.main import app; app()",
        "replay",
        str(folder),
        "--json",
        "--matching",
        "none",
    ]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(command, stdout=out, check=False)
        assert done.returncode in (0, 1)
        out.seek(0)
        *_, summary = out
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = json.loads(summary)
    return {
        "records": found["records"],
        "replay_s": time.perf_counter() - began,
        "peak_mib": peak,
        "orders": found["orders"],
    }


WORK: dict[str, Callable[[Path], dict[str, float]]] = {"read": read, "replay": replay}


def measured(work: str, folder: Path) -> dict[str, float]:
    """The work in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.recordings", work, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(records: int, *, with_replay: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as name:
        small, large = Path(name) / "small", Path(name) / "large"
        write(small, SMALL)
        took = write(large, records)
        stored = sum(path.stat().st_size for path in large.glob("*.parquet")) / records
        few, many = measured("read", small), measured("read", large)
        told = f"{records} records, {stored:.0f} bytes each on disk"
        print_row("records a second written to a recording", records / took, ">= 100000", told)
        print_row("records a second read from a recording in order", records / many["read_s"], ">= 300000", told)
        print_row("records a second checked before they are read", records / many["check_s"], ">= 1000000", told)
        growth = many["peak_mib"] - few["peak_mib"]
        beyond = f"{many['peak_mib']:.0f} MiB for {records} records, {few['peak_mib']:.0f} MiB for {SMALL}"
        print_row("MiB that reading a long recording takes beyond a short one", growth, "<= 64", beyond)
        if with_replay:
            run = measured("replay", large)
            peak = f"{run['replay_s']:.0f} s, {run['peak_mib']:.0f} MiB at most, {run['orders']} orders"
            print_row("records a second replayed", records / run["replay_s"], ">= 0", peak)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(WORK[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else USUAL, with_replay=len(sys.argv) > 1)
