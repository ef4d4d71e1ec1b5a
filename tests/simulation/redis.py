"""Simulated Redis: hashes, the flush function with its compare-and-set, loss of writes to any earlier moment, flipped and torn bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.adapters.ports import Unreachable
from services.adapters.redis_function import ASIDE
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Link

Hashes = dict[str, dict[bytes, bytes]]


class RedisServer:
    """The data, and every version that it ever had."""

    checks_epoch = True  # what the planted bugs take away
    checks_offsets = True

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.data: Hashes = {}
        self.has_function = False
        self.history: list[tuple[float, Hashes]] = []
        self.on_flush: Callable[[str, Mapping[bytes, bytes], Mapping[bytes, bytes]], None] = lambda *_: None
        self.on_aside: Callable[[], None] = lambda: None
        self.flushes = 0

    def execute(self, *parts: Any) -> Any:
        """One command; a flush is one step, as a function call is."""
        command = str(parts[0]).upper()
        if command == "FUNCTION":
            self.has_function = True
            return b"ringfence_v1"
        if command == "HGETALL":
            return dict(self.data.get(str(parts[1]), {}))
        if command == "HGET":
            return self.data.get(str(parts[1]), {}).get(_bytes(parts[2]))
        assert command == "FCALL", f"the simulated Redis does not know {command}"
        if not self.has_function:
            raise ResponseError("Function not found")
        if parts[1] == ASIDE:
            self._change()
            self.on_aside()
            keys = [str(key) for key in parts[3:]]
            half = len(keys) // 2
            self.data |= {
                new: self.data.pop(old) for old, new in zip(keys[:half], keys[half:], strict=True) if old in self.data
            }
            return [b"OK"]
        return self._flush(str(parts[3]), str(parts[4]), [_bytes(part) for part in parts[5:]])

    def _flush(self, buckets: str, meta: str, args: list[bytes]) -> list[bytes]:
        """The twin of the Lua function in redis_function.py."""
        stored = self.data.get(meta, {})
        epoch = stored.get(b"epoch", b"-1")
        same = epoch.removeprefix(b"-").isdigit()
        if self.checks_epoch and same and int(args[0]) < int(epoch):
            return [b"FENCED", epoch]
        count, at = int(args[1]), 2
        answer = [b"ROLLBACK"]
        for topic, expected in zip(args[at : at + 2 * count : 2], args[at + 1 : at + 2 * count : 2], strict=True):
            found = stored.get(b"offset:" + topic, b"")
            same = same and found == expected
            answer += [topic, found]
        if not same and self.checks_offsets:
            return answer
        at += 2 * count
        self._change()
        for key in (meta, buckets):
            count = int(args[at])
            fields = args[at + 1 : at + 1 + 2 * count]
            if fields:
                self.data.setdefault(key, {}).update(zip(fields[::2], fields[1::2], strict=True))
            at += 1 + 2 * count
        for name in args[at + 1 : at + 1 + int(args[at])]:
            self.data.get(buckets, {}).pop(name, None)
        self.flushes += 1
        self.on_flush(meta, self.data[meta], self.data.get(buckets, {}))
        return [b"OK"]

    def _change(self) -> None:
        """Keep what is there now, so that it can come back."""
        self.history.append((self._loop.time(), {key: dict(fields) for key, fields in self.data.items()}))
        if len(self.history) > 400:
            del self.history[:100]

    # -- faults --------------------------------------------------------------------------------------------------------

    def lose_writes(self, draw: random.Random) -> None:
        """A failover to a replica that was behind: back to any earlier moment, mostly a near one."""
        if not self.history:
            return
        back = (
            min(len(self.history), 1 + int(draw.expovariate(1 / 5)))
            if draw.random() < 0.8
            else draw.randrange(1, len(self.history) + 1)
        )
        state = self.history[-back][1]
        self.data = {key: dict(fields) for key, fields in state.items()}

    def flush_all(self) -> None:
        self.data = {}
        self.has_function = False

    def damage(self, draw: random.Random) -> str | None:
        """Flip a bit of a stored value, or tear its end off; one row of each shard stays whole: where nothing fits its checksum, the
        key may be the wrong one, and a person has to act."""
        places = [
            (key, name)
            for key in sorted(self.data)
            if not key.endswith(":damaged")
            for name in sorted(self.data[key])[key.endswith(":buckets") :]
            if self.data[key][name]
        ]
        if not places:
            return None
        key, name = draw.choice(places)
        value = bytearray(self.data[key][name])
        if draw.random() < 0.7:
            value[draw.randrange(len(value))] ^= 1 << draw.randrange(8)
        else:
            del value[draw.randrange(len(value)) :]
        self.data[key][name] = bytes(value)
        return f"{key}/{name!r}"


def _bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


class RedisClient:
    """As much of a redis-py client as `RedisTable` uses, over a link."""

    def __init__(self, server: RedisServer, link: Link, point: Callable[[str], Any]) -> None:
        self._server = server
        self._link = link
        self._point = point

    async def ping(self) -> bool:
        return True

    async def info(self, _section: str) -> dict[str, Any]:
        return {"maxmemory": 0}

    async def execute_command(self, *parts: Any) -> Any:
        name = str(parts[0]).lower()
        await self._point(f"{name}:before")
        answer = await self._send([parts])
        await self._point(f"{name}:after")
        return answer[0]

    async def _send(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        def carry_out() -> list[Any] | ResponseError:
            try:
                return [self._server.execute(*command) for command in commands]
            except ResponseError as error:
                return error

        try:
            answer = await self._link.request(carry_out, "redis")
        except Unreachable as error:
            raise RedisTimeoutError(str(error)) from error
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def pipeline(self, *, transaction: bool) -> Pipeline:
        assert transaction
        return Pipeline(self)

    async def many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        await self._point("load:before")
        answers = await self._send(commands)
        await self._point("load:after")
        return answers


class Pipeline:
    """MULTI: all commands in one step."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._commands: list[tuple[Any, ...]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def hgetall(self, key: str) -> None:
        self._commands.append(("HGETALL", key))

    async def execute(self) -> list[Any]:
        return await self._client.many(self._commands)
