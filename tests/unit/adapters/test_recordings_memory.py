"""Reading takes the same memory however long the recording is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.recordings import measured, write

RECORDS = 1_000_000
MORE_MIB = 32


@pytest.mark.slow
def test_a_million_records_take_no_more_memory_than_fifty_thousand(tmp_path: Path) -> None:
    """Each in a process of its own; held at once, a million would take some 300 MiB."""
    few, many = tmp_path / "few", tmp_path / "many"
    write(few, 50_000)
    write(many, RECORDS)
    short, long = measured("read", few), measured("read", many)
    assert (short["records"], long["records"]) == (50_000, RECORDS)
    assert long["peak_mib"] - short["peak_mib"] < MORE_MIB, (short, long)
