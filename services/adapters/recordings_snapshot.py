"""The state that a recording begins with: the rows of the Redis tables, so that a replay does not need the beginning of time.

`snapshot/rows.parquet` holds (partition, field, row) as the table has them, without its checksums; the manifest says which offsets
each shard is the fold of. The account topics are recorded from there; reference topics whole, prices from a look-back.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from services.adapters.durable import TEMPORARY, publish, sha256_of
from services.adapters.ports import Stored
from services.adapters.recordings_errors import RecordingError
from services.adapters.recordings_manifest import StartShard, StartState
from services.adapters.recordings_rows import Start

FOLDER: Final = "snapshot"
NAME: Final = f"{FOLDER}/rows.parquet"
_SCHEMA: Final = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("row", pa.binary(), nullable=False),
    ]
)


def write_snapshot(folder: Path, taken_ms: int, shards: Mapping[int, Stored]) -> StartState:
    """Put the rows into the recording's folder; durable before the manifest names them. Shards never stored are left out."""
    stored = {partition: shard for partition, shard in shards.items() if shard.offsets is not None}
    rows = [(partition, *row) for partition, shard in sorted(stored.items()) for row in sorted(shard.rows)]
    path = folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    columns = [pa.array([row[n] for row in rows], _SCHEMA.field(n).type) for n in range(len(_SCHEMA))]
    pq.write_table(pa.table(columns, schema=_SCHEMA), temporary, compression="zstd")
    publish(temporary, path)
    return StartState(
        name=NAME, sha256=sha256_of(path), bytes=path.stat().st_size, taken_ms=taken_ms,
        shards={
            partition: StartShard(
                offsets=dict(shard.offsets or {}), epoch=shard.epoch, claim=shard.claim, settings=shard.settings, rows=len(shard.rows)
            )
            for partition, shard in sorted(stored.items())
        },
    )  # fmt: skip


def read_snapshot(folder: Path, state: StartState) -> Start:
    """The rows back. Raises `RecordingError` where they are not those that the manifest lists."""
    path = folder / state.name
    try:
        table = pq.read_table(path, schema=_SCHEMA, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from error
    rows: dict[int, list[tuple[str, bytes]]] = {partition: [] for partition in state.shards}
    for partition, field, row in zip(*(table.column(name).to_pylist() for name in _SCHEMA.names), strict=True):
        rows.setdefault(partition, []).append((field, row))
    if {partition: len(found) for partition, found in rows.items()} != {p: s.rows for p, s in state.shards.items()}:
        raise RecordingError(
            f"{path}: holds other rows than the manifest lists: take the file from a copy of the recording"
        )
    return Start(taken_ms=state.taken_ms, rows=rows, claims={p: shard.claim for p, shard in state.shards.items()})
