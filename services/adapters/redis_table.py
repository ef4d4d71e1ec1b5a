"""Shards in Redis: rows with a keyed checksum, and the offsets that they are the fold of, stored in one step.

Keys of shard 7 under prefix `rf:`: the hash `rf:{p7}:buckets` (field `account|bucket`, value tag + row) and the hash `rf:{p7}:meta`
(`epoch`, `claim`, `settings`, `offset:<topic>` each, and `tag` over all of them).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.adapters.ports import (
    Corrupt,
    Fenced,
    Flushed,
    FlushResult,
    Refused,
    RolledBack,
    Snapshot,
    Stored,
    Unreachable,
)
from services.adapters.redis_function import ASIDE, FLUSH, LIBRARY, SOURCE

TAG_BYTES: Final = 16
OFFSET: Final = "offset:"
ROWS_AT_ONCE: Final = 2_000
# Without a configured secret the checksum still finds damage and mix-ups, but not a forger who has read this line.
DEFAULT_KEY: Final = b"ringfence table rows v1"


@dataclass(frozen=True)
class TableSettings:
    """Where the tables are. `key` makes row checksums unforgeable for who does not know it."""

    prefix: str
    settings: str  # what the engine was configured with, for people
    key: bytes = DEFAULT_KEY


class RedisTable:
    """`Table` over Redis or Valkey."""

    def __init__(self, client: Redis, settings: TableSettings) -> None:
        self._client = client
        self._settings = settings
        self._key = settings.key if len(settings.key) <= blake2b.MAX_KEY_SIZE else blake2b(settings.key).digest()
        self._seeds: dict[int, blake2b] = {}  # by shard

    async def prepare(self) -> None:
        """Check the server and install the function, or find it installed where this login may not.

        Raises:
            Unreachable: no answer.
            Refused: the server may evict, or the function is missing and cannot be installed.
        """
        try:
            await self._client.ping()
            await self._check_eviction()
            await self._install()
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    async def _check_eviction(self) -> None:
        memory = await self._client.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory", 0) and policy != "noeviction":
            raise Refused(f"Redis may evict rows (maxmemory-policy {policy}): set it to noeviction")

    async def _install(self) -> None:
        try:
            await self._command("FUNCTION", "LOAD", "REPLACE", SOURCE)
        except NoPermissionError:
            try:
                await self._command("FCALL", FLUSH, 0)
            except NoPermissionError as error:
                raise Refused(f"this Redis login may not call {FLUSH}: allow +fcall") from error
            except ResponseError as error:
                if "Function not found" in str(error):
                    raise Refused(
                        f"the function library {LIBRARY} is not in Redis, and this login may not load it: "
                        "load it once with `ringfence doctor --print-function | redis-cli -x FUNCTION LOAD`"
                    ) from error

    async def _command(self, *parts: Any) -> Any:
        return await self._client.execute_command(*parts)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

    async def load(self, partition: int) -> Stored:
        """See `Table.load`."""
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hgetall(self._meta_key(partition))
                pipe.hgetall(self._buckets_key(partition))
                meta, rows = await pipe.execute()
        except RedisError as error:
            raise Unreachable(f"shard {partition} cannot be loaded from Redis: {error}") from error
        return await self._verified(partition, meta, rows)

    async def _verified(self, partition: int, meta: dict[bytes, bytes], rows: Mapping[bytes, bytes]) -> Stored:
        """Every row and the meta data checked, without keeping others waiting for long."""
        if not meta and not rows:
            return Stored(epoch=-1, claim=-1, offsets=None, rows=(), settings="")
        found: list[tuple[str, bytes]] = []
        damaged: list[bytes] = []
        waiting = iter(rows.items())
        while some := list(islice(waiting, ROWS_AT_ONCE)):
            self._sort_out(partition, some, found, damaged)
            await asyncio.sleep(0)
        stored = self._stored(partition, meta, found)
        if stored is None and damaged and not found:
            raise Refused(
                f"nothing of shard {partition} in Redis fits its checksum: is this the key that it was written with?"
            )
        if damaged:
            raise Corrupt(
                f"{len(damaged)} rows of {self._buckets_key(partition)} fail their checksum, {damaged[0]!r} first"
            )
        if stored is None:
            raise Corrupt(f"{self._meta_key(partition)} fails its checksum")
        return stored

    def _sort_out(
        self, partition: int, rows: list[tuple[bytes, bytes]], found: list[tuple[str, bytes]], damaged: list[bytes]
    ) -> None:
        """Rows that fit their tags, without them, and the fields of the others. Of a million at a restart: `_tag` is written out."""
        begun = self._seed(partition).copy
        for field, sealed in rows:
            row = sealed[TAG_BYTES:]
            digest = begun()
            digest.update(len(field).to_bytes(4, "big") + field + row)
            if sealed.startswith(digest.digest()):
                found.append((field.decode(), row))
            else:
                damaged.append(field)

    def _stored(self, partition: int, meta: Mapping[bytes, bytes], rows: list[tuple[str, bytes]]) -> Stored | None:
        """What the meta data say; None where they fail their checksum."""
        try:
            texts = {name.decode(): value.decode() for name, value in meta.items()}
        except UnicodeDecodeError:
            return None
        if texts.pop("tag", "") != self._meta_tag(partition, texts):
            return None
        offsets = {name.removeprefix(OFFSET): int(at) for name, at in texts.items() if name.startswith(OFFSET)}
        return Stored(int(texts["epoch"]), int(texts["claim"]), offsets, rows, texts["settings"])

    async def stored_offsets(self, partition: int) -> Mapping[str, int] | None:
        """See `Table.stored_offsets`."""
        meta = await self._read_meta(partition)
        if not meta:
            return None
        stored = self._stored(partition, meta, [])
        if stored is None:
            raise Corrupt(f"{self._meta_key(partition)} fails its checksum")
        return stored.offsets

    async def fence(self, partition: int, epoch: int) -> FlushResult:
        """See `Table.fence`."""
        meta = await self._read_meta(partition)
        stored = self._stored(partition, meta, []) if meta else None
        if stored is None or stored.offsets is None:
            return Flushed()
        return await self.flush(partition, epoch, stored.offsets, Snapshot({}, stored.offsets, stored.claim))

    async def _read_meta(self, partition: int) -> dict[bytes, bytes]:
        try:
            found: dict[bytes, bytes] = await self._command("HGETALL", self._meta_key(partition))
        except RedisError as error:
            raise Unreachable(f"the offsets of shard {partition} cannot be read from Redis: {error}") from error
        return found

    async def put_aside(self, partition: int) -> None:
        """See `Table.put_aside`."""
        keys = (self._buckets_key(partition), self._meta_key(partition))
        try:
            await self._call(ASIDE, (*keys, *(f"{key}:damaged" for key in keys)), [])
        except NoPermissionError as error:
            raise Refused(
                f"this Redis login may not rename {keys}: allow +exists and +rename, or {HOW_TO_REBUILD}"
            ) from error
        except RedisError as error:
            raise Unreachable(f"shard {partition} cannot be put aside in Redis: {error}") from error

    async def flush(
        self, partition: int, epoch: int, expected: Mapping[str, int] | None, snapshot: Snapshot
    ) -> FlushResult:
        """See `Table.flush`."""
        meta = self._meta(partition, epoch, snapshot)
        arguments = self._arguments(partition, meta, expected, snapshot)
        try:
            answer = await self._call(FLUSH, (self._buckets_key(partition), self._meta_key(partition)), arguments)
            held = await self._command("HGET", self._meta_key(partition), "tag") if answer[0] == b"ROLLBACK" else None
        except RedisError as error:
            raise Unreachable(f"shard {partition} cannot be stored in Redis: {error}") from error
        match answer[0]:
            case b"OK":
                return Flushed()
            case b"FENCED":
                return Fenced(int(answer[1]))
            case _:
                # Offsets alone do not tell that an earlier attempt of ours did it: another may have stored as many, or a bit flipped.
                return Flushed() if held == meta["tag"].encode() else RolledBack(_offsets(answer[1:]))

    async def _call(self, function: str, keys: tuple[str, ...], arguments: list[Any]) -> Any:
        try:
            return await self._command("FCALL", function, len(keys), *keys, *arguments)
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
        await self._install()  # the server was replaced by an empty one
        return await self._command("FCALL", function, len(keys), *keys, *arguments)

    def _meta(self, partition: int, epoch: int, snapshot: Snapshot) -> dict[str, str]:
        meta = {"epoch": str(epoch), "claim": str(snapshot.claim), "settings": self._settings.settings}
        meta |= {f"{OFFSET}{topic}": str(at) for topic, at in snapshot.offsets.items()}
        meta["tag"] = self._meta_tag(partition, meta)
        return meta

    def _arguments(
        self, partition: int, meta: Mapping[str, str], expected: Mapping[str, int] | None, snapshot: Snapshot
    ) -> list[Any]:
        found: list[Any] = [meta["epoch"], len(snapshot.offsets)]
        for topic in snapshot.offsets:
            found += (topic, "" if expected is None or topic not in expected else expected[topic])
        found.append(len(meta))
        for name, value in meta.items():
            found += (name, value)
        deletes = [field for field, row in snapshot.rows.items() if row is None]
        found.append(len(snapshot.rows) - len(deletes))
        for field, row in snapshot.rows.items():
            if row is not None:
                raw = field.encode()
                found += (raw, self._tag(partition, raw, row) + row)
        return [*found, len(deletes), *deletes]

    def _tag(self, partition: int, field: bytes, row: bytes) -> bytes:
        """Keyed BLAKE2b-128 over shard, field and row, each field's length first."""
        digest = self._seed(partition).copy()
        digest.update(len(field).to_bytes(4, "big") + field + row)
        return digest.digest()

    def _seed(self, partition: int) -> blake2b:
        """What the tag of each row of the shard begins with."""
        seed = self._seeds.get(partition)
        if seed is None:
            seed = blake2b(partition.to_bytes(4, "big"), digest_size=TAG_BYTES, key=self._key)
            self._seeds[partition] = seed
        return seed

    def _meta_tag(self, partition: int, meta: Mapping[str, str]) -> str:
        text = "\n".join(f"{name}={meta[name]}" for name in sorted(meta))
        return self._tag(partition, b"meta", text.encode()).hex()

    def _buckets_key(self, partition: int) -> str:
        return f"{self._settings.prefix}{{p{partition}}}:buckets"

    def _meta_key(self, partition: int) -> str:
        return f"{self._settings.prefix}{{p{partition}}}:meta"


HOW_TO_REBUILD: Final = "delete both hashes of the shard to rebuild it from Kafka"


def _offsets(pairs: list[bytes]) -> dict[str, int]:
    """Topics and offsets as the function answers them; empty where they are damaged: who loads the shard will see."""
    try:
        return {pairs[i].decode(): int(pairs[i + 1]) for i in range(0, len(pairs), 2) if pairs[i + 1]}
    except ValueError:
        return {}
