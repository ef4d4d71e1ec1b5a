"""One run of the recorder: what is to be recorded, from where, and whether the folder may go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from services.adapters.clock import SystemClock
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_range import EARLIEST, Place, RangeReader, range_reader
from services.adapters.ports import Refused, Stored
from services.adapters.recordings_kafka import CATALOGUE
from services.adapters.recordings_manifest import Manifest, RecordedFile, schema_version
from services.adapters.recordings_merge import stream_rank
from services.adapters.recordings_rows import Stream
from services.adapters.recordings_snapshot import write_snapshot
from services.adapters.recordings_writer import FolderWriter, existing_manifest, open_folder
from services.adapters.topic_admin import connected
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS
from services.recorder.recorder import Limits, Progress, Recorder

FETCH_WAIT_MS = 100
PRICES = "prices"


class Snapshot(Struct, frozen=True, kw_only=True):
    """How to begin with the tables: what loads a shard, and how far prices go back before them (-1: all)."""

    load: Callable[[int], Awaitable[Stored]]
    price_look_back_ms: int


class Request(Struct, frozen=True, kw_only=True):
    """What is asked for. `topics` None: all of the catalogue that exist. `end` None: until stopped."""

    connection: KafkaConnection
    prefix: str
    folder: Path
    topics: tuple[str, ...] | None = None
    start: Place = Place(word=EARLIEST)
    end: Place | None = None
    limits: Limits = Limits()
    settings: Callable[[int], str] | None = None  # id of the engine's settings, once the account partitions are known
    parameters: dict[str, Any] = {}
    snapshot: Snapshot | None = None  # begin with the tables; `start` is not used then


class Told(Struct, frozen=True, kw_only=True):
    """Whom to tell what: a line for people, each file, how far it got."""

    note: Callable[[str], object]
    file: Callable[[RecordedFile], object]
    progress: Callable[[Progress], object]


class Outcome(Struct, frozen=True, kw_only=True):
    """What the folder holds now, and whether the end asked for was reached."""

    manifest: Manifest
    is_reached: bool


async def record(request: Request, told: Told, stop: asyncio.Event) -> Outcome:
    """Record until `stop` or the end asked for.

    Raises:
        Unreachable: no broker answers.
        Refused: topics are missing, the folder holds something else, or the log no longer holds what is next.
        RecordingError: the folder's manifest is damaged, or of another version.
    """
    existing = existing_manifest(request.folder)
    counts, cluster = await _topics(request, existing, told)
    async with range_reader(request.connection, request.prefix, fetch_max_wait_ms=FETCH_WAIT_MS) as reader:
        await reader.know(counts)
        streams = [(topic, partition) for topic, count in counts.items() for partition in range(count)]
        if existing is None:
            manifest = await _begun(request, cluster, reader, streams)
        else:
            _check_origin(request, existing, cluster)
            told.note(
                f"going on with the recording in {request.folder} ({existing.records} records so far); --from is not used"
            )
            manifest = await _continued(existing, reader, streams)
        with open_folder(request.folder, manifest) as writer:
            reached = await _recorder(request, reader, writer, told, await _ends(request, reader, streams)).run(stop)
            return Outcome(manifest=writer.manifest, is_reached=reached)


async def _topics(request: Request, existing: Manifest | None, told: Told) -> tuple[dict[str, int], str]:
    """Partitions of each topic to record, and the cluster's id."""
    chosen = request.topics
    if existing is not None:
        if chosen is not None and set(chosen) != set(existing.starts):
            raise Refused(
                f"{request.folder}: holds a recording of {', '.join(existing.starts)}: leave --topics out to go on with it, "
                "or give a new folder"
            )
        chosen = tuple(existing.starts)
    async with connected(request.connection) as admin:
        found = await admin.found([f"{request.prefix}{topic}" for topic in chosen or CATALOGUE])
        cluster = await admin.cluster_id()
    counts = {name.removeprefix(request.prefix): topic.partitions for name, topic in found.items()}
    missing = [topic for topic in chosen or CATALOGUE[:-1] if topic not in counts]
    if missing and (chosen is not None or not counts):
        names = ", ".join(f"{request.prefix}{topic}" for topic in missing)
        raise Refused(f"topics are missing: {names}; check the prefix, or run `ringfence topics create`")
    if missing:
        told.note(f"not there, so not recorded: {', '.join(missing)}")
    return counts, cluster


async def _begun(request: Request, cluster: str, reader: RangeReader, streams: list[Stream]) -> Manifest:
    """The manifest of a new recording, which begins at a place or with a snapshot."""
    if request.snapshot is None:
        return _new(request, cluster, await reader.at_place(streams, request.start))
    taken_ms = SystemClock().now_ms()
    partitions = {partition for topic, partition in streams if topic in ACCOUNT_TOPICS}
    shards = {partition: await request.snapshot.load(partition) for partition in sorted(partitions)}
    starts = await _after(shards, request.snapshot.price_look_back_ms, taken_ms, reader, streams)
    state = await asyncio.to_thread(write_snapshot, request.folder, taken_ms, shards)
    return structs.replace(_new(request, cluster, starts), snapshot=state)


async def _after(
    shards: Mapping[int, Stored], look_back_ms: int, taken_ms: int, reader: RangeReader, streams: list[Stream]
) -> dict[Stream, int]:
    """Where each stream begins: account topics after what the rows hold, reference topics with everything, prices so long
    before, and what is only written when the rows were read."""
    starts, begins = await reader.at_time(streams, taken_ms), await reader.begins(streams)
    starts |= {stream: begins[stream] for stream in streams if stream[0] in BROADCAST_TOPICS}
    prices = [stream for stream in streams if stream[0] == PRICES]
    if look_back_ms >= 0 and prices:
        starts |= await reader.at_time(prices, taken_ms - look_back_ms)
    for stream in streams:
        if stream[0] in ACCOUNT_TOPICS:
            offsets = shards[stream[1]].offsets
            starts[stream] = begins[stream] if offsets is None else offsets[stream[0]]
            if starts[stream] < begins[stream]:
                raise Refused(
                    f"{stream[0]}[{stream[1]}]: the tables hold it up to offset {starts[stream]}, but the log begins at "
                    f"{begins[stream]}: what is between is lost; raise the topic's retention"
                )
    return starts


def _new(request: Request, cluster: str, starts: Mapping[Stream, int]) -> Manifest:
    """The manifest of a recording that begins; the engine's parameters where account topics tell the partition count."""
    partitions = len({partition for topic, partition in starts if topic in ACCOUNT_TOPICS})
    settings = request.settings(partitions) if request.settings is not None and partitions else None
    return Manifest(
        cluster=cluster, prefix=request.prefix, schemas={topic: schema_version(topic) for topic, _ in starts},
        starts=_by_topic(starts), settings=settings,
        parameters={**request.parameters, "account_partitions": partitions} if partitions else {},
    )  # fmt: skip


def _by_topic(offsets: Mapping[Stream, int]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for topic, partition in sorted(offsets, key=stream_rank):
        found.setdefault(topic, {})[partition] = offsets[topic, partition]
    return found


def _check_origin(request: Request, existing: Manifest, cluster: str) -> None:
    for what, before, now in (("cluster", existing.cluster, cluster), ("prefix", existing.prefix, request.prefix)):
        if before != now:
            raise Refused(
                f"{request.folder}: is a recording of {what} {before!r}, this is {now!r}: one folder holds one recording; "
                "give a new folder"
            )


async def _continued(existing: Manifest, reader: RangeReader, streams: list[Stream]) -> Manifest:
    """The manifest to go on with: new partitions begin at their beginning. Refuses to leave a gap."""
    positions, begins, ends = existing.positions(), await reader.begins(streams), await reader.ends(streams)
    for stream in streams:
        at = positions.get(stream, 0)
        what = f"{stream[0]}[{stream[1]}]"
        if at < begins[stream]:
            raise Refused(
                f"{what}: recorded up to offset {at}, but the log begins at {begins[stream]}: going on would leave a gap; "
                "raise the topic's retention, and begin a recording in a new folder"
            )
        if at > ends[stream]:
            raise Refused(
                f"{what}: recorded up to offset {at}, but the log ends at {ends[stream]}: the topic was made anew; "
                "begin a recording in a new folder"
            )
    grown = {stream: 0 for stream in streams if stream not in positions}
    starts = {topic: {**existing.starts.get(topic, {}), **at} for topic, at in _by_topic(grown).items()}
    return structs.replace(existing, starts={**existing.starts, **starts})


async def _ends(request: Request, reader: RangeReader, streams: Iterable[Stream]) -> dict[Stream, int] | None:
    """Where to end, as far as it can be said now."""
    end = request.end
    if end is None or (end.time_ms is not None and end.time_ms > SystemClock().now_ms()):
        return None
    return await reader.at_place(list(streams), end)


def _recorder(
    request: Request, reader: RangeReader, writer: FolderWriter, told: Told, ends: Mapping[Stream, int] | None
) -> Recorder:
    return Recorder(
        reader, writer, limits=request.limits, ends=ends,
        until_ms=None if request.end is None else request.end.time_ms,
        on_file=told.file, on_progress=told.progress,
    )  # fmt: skip
