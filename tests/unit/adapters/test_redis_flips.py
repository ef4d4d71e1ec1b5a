"""Ten thousand single bits flipped in a stored shard: each is seen, or changes nothing of what is loaded."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from services.adapters.ports import Corrupt, Flushed, Refused, Snapshot, Stored
from services.adapters.redis_table import RedisTable, TableSettings
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.simulation.loop import VirtualLoop
from tests.simulation.redis import Pipeline, RedisServer
from tests.support.histories import Drive, make_history

FLIPS = 10_000
SHARD = 3


class DirectClient:
    """As much of a redis-py client as `RedisTable` uses, with nothing between it and the data."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def execute_command(self, *parts: Any) -> Any:
        return self._server.execute(*parts)

    async def many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        return [self._server.execute(*command) for command in commands]

    def pipeline(self, *, transaction: bool) -> Pipeline:
        assert transaction
        return Pipeline(self)  # type: ignore[arg-type]  # of a client it uses `many` only


def engine_rows() -> dict[str, bytes | None]:
    """Rows of a generated history: accounts, buckets, open orders."""
    engine = Engine(Settings(), {})
    Drive(engine, answers_seed=None).play(make_history(random.Random(6), 300))
    return engine.take_dirty(0)


def flip(data: dict[str, dict[bytes, bytes]], draw: random.Random) -> str:
    """Flip one bit of a value, or of the name of a field; answers what was hit."""
    key = draw.choice(sorted(data))
    name = draw.choice(sorted(data[key]))
    value = data[key].pop(name)
    hits_name = draw.random() < 0.1
    target = bytearray(name if hits_name else value)
    target[draw.randrange(len(target))] ^= 1 << draw.randrange(8)
    if hits_name:
        data[key][bytes(target)] = value
    else:
        data[key][name] = bytes(target)
    return f"{key} {'name' if hits_name else 'value'}"


async def outcome_of(table: RedisTable) -> Stored | str:
    try:
        return await table.load(SHARD)
    except (Corrupt, Refused):
        return "seen"


async def test_ten_thousand_flipped_bits_are_seen_or_harmless() -> None:
    server, draw = RedisServer(VirtualLoop()), random.Random(1)
    table = RedisTable(DirectClient(server), TableSettings("rf:", "s1"))  # type: ignore[arg-type]  # as much of one as is used
    rows, offsets = engine_rows(), {"fills": 12, "accounts": 7}
    assert len(rows) >= 10
    assert await table.flush(SHARD, 9, None, Snapshot(rows, offsets, claim=9)) == Flushed()
    whole, good = await table.load(SHARD), {key: dict(fields) for key, fields in server.data.items()}
    outcomes: Counter[str] = Counter()
    for _ in range(FLIPS):
        server.data = {key: dict(fields) for key, fields in good.items()}
        hit = flip(server.data, draw)
        found = await outcome_of(table)
        assert found in ("seen", whole), f"a flipped bit in {hit} was loaded: {found}"
        outcomes["seen" if found == "seen" else "harmless"] += 1
    assert outcomes["seen"] > FLIPS * 0.99
    server.data = good
    assert await table.load(SHARD) == whole, "what nothing was done to is loaded as it was"
