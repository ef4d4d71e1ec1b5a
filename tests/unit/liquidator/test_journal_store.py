"""What is stored waits for the journal record that says so."""

from __future__ import annotations

import pytest

from services.contracts.journal import Stored, decode_journal
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.liquidator.journal import JournalledEngine
from tests.unit.liquidator.fakes import FakeClock


@pytest.mark.parametrize("silence_s", [0.0, 10.0])
def test_the_record_of_a_store_names_the_shard_that_waits_for_it(silence_s: float) -> None:
    """Also when a record was due anyhow: written for nobody, it could be lost with the process while the rows are stored."""
    written: list[tuple[int | None, bytes]] = []
    clock = FakeClock()
    journalled = JournalledEngine(
        Engine(Settings(), {}), "s-1", Settings(), clock, lambda shard, value: written.append((shard, value))
    )
    clock.seconds += silence_s
    journalled.take_dirty(3)
    stores = [shard for shard, value in written if Stored(3) in decode_journal(value).inputs]
    assert stores == [3]
