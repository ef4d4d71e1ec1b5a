"""The logins of deploy/redis on a real server: enough for a worker, and for nothing else."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from services.adapters.ports import Flushed, Snapshot
from services.adapters.redis_reader import reading, server_facts, shard_of
from services.adapters.redis_table import RedisTable, TableSettings
from services.liquidator.build import redis_client
from services.liquidator.config import load
from tests.conftest import in_ci
from tests.support.process import Unavailable
from tests.support.redis import RedisServer
from tests.tidy.tree import ROOT

pytestmark = pytest.mark.redis

PREFIX = "ringfence:"


class GuardedRedis(RedisServer):
    """A server with the deployment's logins."""

    def __init__(self, secrets: Path) -> None:
        super().__init__()
        self.secrets = secrets

    def command(self) -> list[str]:
        return [*super().command(), "--aclfile", str(self.secrets / "redis-users.acl")]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"AUTH health none\r\nPING\r\n")
                return connection.makefile("rb").readline() == b"+OK\r\n"
        except OSError:
            return False


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedRedis]:
    secrets = tmp_path / "secrets"
    subprocess.run([str(ROOT / "deploy" / "secrets.sh"), str(secrets)], check=True, timeout=20)
    try:
        server = GuardedRedis(secrets)
    except Unavailable as missing:
        if in_ci():
            pytest.fail(f"a real part is missing: {missing}", pytrace=False)
        pytest.skip(str(missing))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
async def client(guarded: GuardedRedis, tmp_path: Path) -> AsyncIterator[Redis]:
    """As a worker makes it from its configuration."""
    config = tmp_path / "ringfence.toml"
    config.write_text(
        '[kafka]\nbootstrap = "localhost:1"\n'
        f'[redis]\nurl = "redis://ringfence@127.0.0.1:{guarded.port}/0"\npassword_file = "{guarded.secrets}/redis-password"\n'
    )
    async with redis_client(load(config)) as made:
        yield made


async def test_a_worker_can_do_its_work(client: Redis) -> None:
    table = RedisTable(client, TableSettings(PREFIX, "s1"))
    await table.prepare()
    rows = {"a-1|": b"account", "a-1|main": b"row"}
    assert await table.flush(3, 9, None, Snapshot(rows, {"fills": 4}, claim=9)) == Flushed()
    assert await table.flush(3, 9, {"fills": 4}, Snapshot({"a-1|main": None}, {"fills": 5}, claim=9)) == Flushed()
    stored = await table.load(3)
    assert (stored.offsets, list(stored.rows)) == ({"fills": 5}, [("a-1|", b"account")])


async def test_it_may_put_a_damaged_shard_aside(client: Redis) -> None:
    table = RedisTable(client, TableSettings(PREFIX, "s1"))
    await table.prepare()
    await table.flush(3, 9, None, Snapshot({"a-1|": b"account"}, {"fills": 4}, claim=9))
    await table.put_aside(3)
    assert (await table.load(3)).offsets is None


async def test_its_operator_can_read(client: Redis) -> None:
    table = RedisTable(client, TableSettings(PREFIX, "s1"))
    await table.prepare()
    await table.flush(3, 9, None, Snapshot({"a-1|": b"account"}, {"fills": 4}, claim=9))
    async with reading(client):
        assert await shard_of(client, PREFIX, "a-1") == 3
        assert (await server_facts(client)).keeps_log


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SET", "ringfence:x", "1"), ("DEL", "ringfence:{p3}:meta"),
        ("HSET", "another:key", "a", "1"), ("EVAL", "return 1", "0"), ("ACL", "LIST"), ("SHUTDOWN",),
        ("FUNCTION", "FLUSH"), ("REPLICAOF", "evil", "1"), ("MONITOR",),
    ],
    ids=lambda command: command[0].lower(),
)  # fmt: skip
async def test_it_can_do_nothing_else(client: Redis, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        await client.execute_command(*command)


async def test_nobody_comes_in_without_a_password(guarded: GuardedRedis) -> None:
    async with Redis(host="127.0.0.1", port=guarded.port) as anonymous:
        with pytest.raises(AuthenticationError):
            await anonymous.ping()
    async with Redis(host="127.0.0.1", port=guarded.port, username="health", password="none") as health:
        assert await health.ping()
        with pytest.raises(NoPermissionError):
            await health.hgetall("ringfence:{p3}:meta")
