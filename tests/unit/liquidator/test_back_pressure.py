"""Redis or Kafka slow or gone: decisions go on while that is safe, memory stays bounded, and all recovers by itself."""

from __future__ import annotations

import asyncio

import pytest

from services.liquidator import outbox
from services.liquidator.shard import Reason
from tests.unit.liquidator.fakes import World, breathe


async def test_decisions_go_on_without_redis() -> None:
    world = await World().live(0)
    world.table.failing = "away"
    world.fill("a")
    await world.run(5)
    world.engine.under["a"] = 0
    await world.run(0.5)
    assert len(world.broker.valid_orders()) == 1


async def test_too_much_that_is_not_stored_shuts_the_gate_until_it_is() -> None:
    world = await World(max_unstored_rows=4).live(0)
    world.table.failing = "away"
    for number in range(6):
        world.fill(f"a-{number}")
    await world.run(1)
    assert Reason.STORE_BEHIND in world.worker.shards[0].reasons
    world.engine.under["a-0"] = 0
    await world.run(0.5)
    assert world.broker.valid_orders() == []
    world.table.failing = None
    await world.run(2)
    assert len(world.broker.valid_orders()) == 1
    assert len(world.table.rows[0]) == 6


async def test_nothing_more_is_read_while_too_much_is_unacknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 4)
    world = await World().live(0)
    world.broker.holding = True
    for _ in range(10):
        world.fill("a", value=b"bad")
    await world.input.pump(world.worker)
    assert world.engine.calls.count("fills@9") == 1
    world.fill("a")
    reading = asyncio.ensure_future(world.input.pump(world.worker))
    await breathe()
    assert world.engine.fills == {}, "ten dead letters wait to be acknowledged"
    world.broker.release()
    await reading
    assert world.engine.fills == {"a": 1}
