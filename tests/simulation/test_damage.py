"""Every flipped bit of a stored shard is seen, or changes nothing."""

from __future__ import annotations

import random
from typing import Any, Self

import pytest

from services.adapters.ports import Flushed, Refused, Snapshot
from services.adapters.redis_table import RedisTable, TableSettings
from tests.simulation.loop import VirtualLoop
from tests.simulation.redis import RedisServer

FLIPS = 10_000


class DirectClient:
    """The commands without a network."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.commands: list[tuple[Any, ...]] = []

    async def execute_command(self, *parts: Any) -> Any:
        return self.server.execute(*parts)

    def pipeline(self, *, transaction: bool) -> DirectClient:
        assert transaction
        return DirectClient(self.server)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def hgetall(self, key: str) -> None:
        self.commands.append(("HGETALL", key))

    async def execute(self) -> list[Any]:
        return [self.server.execute(*command) for command in self.commands]


async def test_flipped_bits_are_seen() -> None:
    draw, server = random.Random(1), RedisServer(VirtualLoop())
    client: Any = DirectClient(server)
    table = RedisTable(client, TableSettings("rf:", "s"))
    rows = {f"a-{number}|main": draw.randbytes(draw.randint(20, 300)) for number in range(8)}
    offsets = {"fills": 1234, "transfers": 99, "liquidation-orders": 7}
    server.has_function = True
    assert await table.flush(3, 5, None, Snapshot(rows, offsets, claim=5)) == Flushed()
    places = [(key, name) for key in sorted(server.data) for name in sorted(server.data[key])]
    for _ in range(FLIPS):
        key, name = draw.choice(places)
        good = server.data[key][name]
        bit = draw.randrange(len(good) * 8)
        server.data[key][name] = good[: bit // 8] + bytes([good[bit // 8] ^ 1 << bit % 8]) + good[bit // 8 + 1 :]
        with pytest.raises(Refused):
            await table.load(3)
        server.data[key][name] = good
    assert dict((await table.load(3)).rows) == rows
