"""What every benchmark prints, and what it may read of a process."""

from __future__ import annotations

import json
import os
from pathlib import Path


def row(figure: str, value: float, reach: str, detail: str) -> None:
    """One comparison, as one line of JSON on standard output."""
    print(json.dumps({"figure": figure, "value": round(value, 3), "reach": reach, "detail": detail}), flush=True)


def resident_bytes(pid: int | str = "self") -> int:
    """Memory that a process holds at this moment."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a process has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def processor_s(pid: int | str = "self") -> float:
    """Seconds of a processor that a process had so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
