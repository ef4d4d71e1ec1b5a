"""The recorder on a real broker: killed and begun again, what it recorded is the topics, record for record."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis
from typer.testing import CliRunner

from services.adapters.ports import Snapshot
from services.adapters.recordings import Recording, RecordingError
from services.adapters.recordings_manifest import MANIFEST, read_manifest
from services.adapters.recordings_rows import Row, record_of
from services.adapters.redis_table import RedisTable, TableSettings
from services.cli.main import app
from services.contracts.topics import ACCOUNT_TOPICS, TOPICS
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.script.tape import START_MS, Tape
from tests.support.kafka import KafkaServer, create_topics
from tests.support.process import free_port
from tests.support.recorder import RecorderProcess, held, publish, publish_transaction
from tests.support.recordings import in_order, row, write_files
from tests.support.redis import RedisServer

PARTITIONS = {"prices": 1, "fills": 4, "account-states": 4, "liquidation-orders": 4, "journal": 4, "dead-letters": 1}
NOWHERE = "redis://127.0.0.1:1/0"
BEGAN_MS = 1_700_000_000_000


def some_rows(seed: int, many: int) -> list[Row]:
    """Records as they come: headers, tombstones, records without key, clocks that step back."""
    chance = random.Random(seed)
    found = []
    for number in range(many):
        topic = chance.choice(list(PARTITIONS))
        value = None if topic == "account-states" and number % 5 == 0 else b'{"number":%d,"ts_ms":1}' % number
        found.append(
            row(
                topic, 0, BEGAN_MS + number * 10 + chance.randint(-50, 50), partition=chance.randrange(PARTITIONS[topic]),
                key=b"" if number % 11 == 0 else b"k%d" % (number % 7), value=value,
                headers=(("reason", b"x"), ("empty", b"")) if number % 3 == 0 else (),
            )
        )  # fmt: skip
    return found


async def make(kafka: KafkaServer, prefix: str, partitions: Mapping[str, int]) -> None:
    """Topics that keep records of any age: these carry the times of an old incident."""
    topics = {f"{prefix}{topic}": count for topic, count in partitions.items()}
    await create_topics(kafka.bootstrap, topics, config={"retention.ms": "-1"})


def recorded(folder: Path | str) -> list[Row]:
    with Recording(str(folder)) as recording:
        return list(recording.rows())


def ringfence(kafka: KafkaServer, prefix: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    environment = {
        "RINGFENCE_KAFKA__BOOTSTRAP": kafka.bootstrap, "RINGFENCE_KAFKA__TOPIC_PREFIX": prefix, "RINGFENCE_REDIS__URL": NOWHERE,
    }  # fmt: skip
    done = CliRunner().invoke(app, list(arguments), env=environment)
    return done.exit_code, done.stdout, done.stderr


async def test_killed_and_begun_again_it_holds_the_topics_exactly(
    kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    """SIGKILL after some files, while records keep coming; then again; then SIGTERM; then the rest: no gap and no repeat."""
    await make(kafka, topic_prefix, PARTITIONS)
    out = tmp_path / "recording"
    live = ("--max-file-mb", "0.005", "--max-file-s", "1")

    seeds = count()

    async def publish_until(done: asyncio.Event) -> None:
        while not done.is_set():
            await publish(kafka.bootstrap, some_rows(next(seeds), 100), topic_prefix)

    for files in (2, 3, 1):
        done = asyncio.Event()
        publishing = asyncio.create_task(publish_until(done))
        recorder = await RecorderProcess(kafka.bootstrap, topic_prefix, out, *live).start()
        for _ in range(files):
            assert (await recorder.line())["records"] > 0
        if files > 1:
            await recorder.kill()
        else:
            code, summary = await recorder.terminate()
            assert (code, summary["end_reached"]) == (0, False), summary["errors"]
        done.set()
        await publishing
        read_manifest(out)
    assert not list(out.glob("*.tmp"))
    await publish_transaction(kafka.bootstrap, f"{topic_prefix}fills", [b"1", b"2"], commit=True)
    await publish_transaction(kafka.bootstrap, f"{topic_prefix}fills", [b"3"], commit=False)
    code, summary = await (await RecorderProcess(kafka.bootstrap, topic_prefix, out, "--to", "now").start()).ended()
    assert (code, summary["end_reached"]) == (0, True), summary["errors"]
    truth = await held(kafka.bootstrap, PARTITIONS, topic_prefix)
    assert summary["records"] == len(truth) > 602
    assert recorded(out) == in_order(truth)
    assert recorded(f"kafka://{kafka.bootstrap}/{topic_prefix}") == in_order(truth)


def filled(kafka: KafkaServer, prefix: str, rows: list[Row]) -> None:
    asyncio.run(make(kafka, prefix, PARTITIONS))
    asyncio.run(publish(kafka.bootstrap, rows, prefix))


def test_from_and_to_are_times_or_offsets(kafka: KafkaServer, topic_prefix: str, tmp_path: Path) -> None:
    rows = [row("prices", number, BEGAN_MS + number * 1_000) for number in range(10)]
    filled(kafka, topic_prefix, rows)
    to, start = str(BEGAN_MS + 7_000), "2023-11-14T22:13:23Z"  # BEGAN_MS is 22:13:20
    code, out, errors = ringfence(
        kafka,
        topic_prefix,
        "record",
        "--out",
        str(tmp_path / "a"),
        "--topics",
        "prices",
        "--from",
        start,
        "--to",
        to,
        "--json",
    )
    assert code == 0, errors
    assert recorded(tmp_path / "a") == rows[3:7]
    assert json.loads(out.splitlines()[-1])["end_reached"] is True
    vector = tmp_path / "offsets.json"
    vector.write_text(json.dumps({"prices": {"0": 8}}))
    chosen = ("--topics", "prices", "--from", str(vector), "--to", "now")
    assert ringfence(kafka, topic_prefix, "record", "--out", str(tmp_path / "b"), *chosen)[0] == 0
    assert recorded(tmp_path / "b") == rows[8:]
    url = f"kafka://{kafka.bootstrap}/{topic_prefix}?from={start}&to={to}"
    assert recorded(url) == rows[3:7]
    vector.write_text(json.dumps({"prices": {"0": 11}}))
    code, _, errors = ringfence(kafka, topic_prefix, "record", "--out", str(tmp_path / "c"), *chosen)
    assert (code, "prices[0]: offset 11 is not in the log, which holds 0 to 10" in errors) == (1, True)


def test_a_recorder_that_cannot_go_on_says_why(kafka: KafkaServer, topic_prefix: str, tmp_path: Path) -> None:
    filled(kafka, topic_prefix, [row("prices", 0, BEGAN_MS)] * 5)
    out = str(tmp_path / "recording")
    to_now = ("record", "--out", out, "--to", "now")
    assert ringfence(kafka, topic_prefix, *to_now)[0] == 0
    code, _, errors = ringfence(kafka, topic_prefix, *to_now, "--topics", "fills")
    assert (code, "holds a recording of" in errors) == (1, True)
    asyncio.run(publish(kafka.bootstrap, [row("prices", 0, BEGAN_MS)] * 5, topic_prefix))
    asyncio.run(forget(kafka.bootstrap, f"{topic_prefix}prices", 7))
    code, _, errors = ringfence(kafka, topic_prefix, *to_now)
    assert (code, "prices[0]: recorded up to offset 5, but the log begins at 7" in errors) == (1, True)
    manifest = Path(out) / MANIFEST
    manifest.write_text(manifest.read_text().replace('"cluster": "', '"cluster": "not-'))
    code, _, errors = ringfence(kafka, topic_prefix, *to_now)
    assert (code, "one folder holds one recording; give a new folder" in errors) == (1, True)
    manifest.write_text("{}")
    assert ringfence(kafka, topic_prefix, *to_now)[0] == 2
    code, _, errors = ringfence(kafka, "nothing-", "record", "--out", str(tmp_path / "new"), "--to", "now")
    assert (code, "topics are missing" in errors) == (1, True)


async def forget(bootstrap: str, topic: str, before: int) -> None:
    """What retention does in its own time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


def test_nobody_at_the_other_end(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    environment = {"RINGFENCE_KAFKA__BOOTSTRAP": nobody, "RINGFENCE_REDIS__URL": NOWHERE}
    for arguments in (
        ["record", "--out", str(tmp_path / "r")],
        ["replay", f"kafka://{nobody}"],
        ["margin", f"kafka://{nobody}"],
    ):
        done = CliRunner().invoke(app, arguments, env=environment)
        assert (done.exit_code, done.stdout) == (3, "")
        assert "no Kafka broker answers" in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_range_that_is_not_there_is_wrong_use(kafka: KafkaServer, topic_prefix: str) -> None:
    for url, text in (
        (f"kafka://{kafka.bootstrap}/{topic_prefix}", "no topic of ours under prefix"),
        (f"kafka://{kafka.bootstrap}/{topic_prefix}?topics=fills", f"topic {topic_prefix}fills exists not"),
    ):
        with pytest.raises(RecordingError, match=text):
            recorded(url)


def test_a_recording_goes_back_into_topics_as_it_was(kafka: KafkaServer, topic_prefix: str, tmp_path: Path) -> None:
    rows = some_rows(7, 300)
    filled(kafka, topic_prefix, rows)
    out = str(tmp_path / "recording")
    assert ringfence(kafka, topic_prefix, "record", "--out", out, "--to", "now")[0] == 0
    target = f"{topic_prefix}copy-"
    code, told, errors = ringfence(
        kafka, topic_prefix, "replay", out, "--to", f"kafka://{kafka.bootstrap}/{target}", "--speed", "max", "--json"
    )
    assert code == 0, errors
    assert json.loads(told)["published"] == 300
    assert asyncio.run(held(kafka.bootstrap, PARTITIONS, target)) == asyncio.run(
        held(kafka.bootstrap, PARTITIONS, topic_prefix)
    )


def test_the_spacing_is_the_recorded_one(kafka: KafkaServer, topic_prefix: str, tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "r", [row("prices", n, BEGAN_MS + at) for n, at in enumerate((0, 3_000, 2_000, 8_000))]
    )
    began = time.monotonic()
    code, told, errors = ringfence(
        kafka,
        topic_prefix,
        "replay",
        str(folder),
        "--to",
        f"kafka://{kafka.bootstrap}/{topic_prefix}",
        "--speed",
        "10",
        "--json",
    )
    assert code == 0, errors
    assert 0.8 <= float(json.loads(told)["elapsed_s"]) <= time.monotonic() - began
    assert [r.timestamp_ms - BEGAN_MS for r in recorded(f"kafka://{kafka.bootstrap}/{topic_prefix}")] == [
        0,
        3_000,
        2_000,
        8_000,
    ]


def test_the_topics_own_names_are_written_only_when_told_twice(
    kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    folder = str(write_files(tmp_path / "r", [row("prices", 0)], prefix=topic_prefix))
    own, flags = f"kafka://{kafka.bootstrap}/{topic_prefix}", ("--original-topics", "--yes-original-topics")
    for target, said in ((own, ()), (own, flags[:1]), (own, flags[1:]), (f"kafka://{kafka.bootstrap}", ())):
        code, _, errors = ringfence(kafka, topic_prefix, "replay", folder, "--to", target, *said)
        assert (code, "these are the topics' own names" in errors) == (2, True)
    assert ringfence(kafka, topic_prefix, "replay", folder, "--to", own, *flags)[0] == 0
    assert [r.offset for r in recorded(own)] == [0]


def test_a_topic_with_too_few_partitions_is_refused_before_anything_is_sent(
    kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    folder = write_files(tmp_path / "r", [row("prices", 0), row("fills", 0, partition=3)])
    asyncio.run(make(kafka, topic_prefix, {"fills": 2, "prices": 1}))
    code, _, errors = ringfence(
        kafka, topic_prefix, "replay", str(folder), "--to", f"kafka://{kafka.bootstrap}/{topic_prefix}"
    )
    assert (code, "has 2 partitions, the recording needs 4" in errors) == (1, True)
    assert recorded(f"kafka://{kafka.bootstrap}/{topic_prefix}") == []


def test_a_recording_that_begins_with_the_tables_ends_like_the_whole(
    kafka: KafkaServer, redis_server: RedisServer, topic_prefix: str, tmp_path: Path
) -> None:
    """`record --snapshot` writes nothing to Redis, and a replay of it leaves the state that a replay of all topics leaves."""
    tape = Tape().long().mark("1000").wait(500).mark("960").wait(500).deposit("1").wait(500).mark("909").wait(500)
    tape.mark("908")
    values = [
        row(line["topic"], 0, line["timestamp_ms"], value=json.dumps(line["value"]).encode()) for line in tape.lines
    ]
    asyncio.run(make(kafka, topic_prefix, {topic.name: 1 for topic in TOPICS}))
    asyncio.run(publish(kafka.bootstrap, values, topic_prefix))
    topics = recorded(f"kafka://{kafka.bootstrap}/{topic_prefix}")
    first = [record_of(each) for each in topics if each.timestamp_ms < START_MS + 1_600]
    engine = Engine(Settings())
    engine.apply_batch(first)
    offsets = {topic: sum(1 for record in first if record.topic == topic) for topic in ACCOUNT_TOPICS}
    environment = {
        "RINGFENCE_KAFKA__BOOTSTRAP": kafka.bootstrap, "RINGFENCE_KAFKA__TOPIC_PREFIX": topic_prefix,
        "RINGFENCE_REDIS__URL": redis_server.url, "RINGFENCE_WORKER__PRICE_LOOK_BACK_MS": "-1",
    }  # fmt: skip
    asyncio.run(store(redis_server.url, offsets, engine.take_dirty(0)))
    before = asyncio.run(everything(redis_server.url))
    out = str(tmp_path / "recording")
    done = CliRunner().invoke(app, ["record", "--out", out, "--snapshot", "--to", "now"], env=environment)
    assert done.exit_code == 0, done.stderr
    assert asyncio.run(everything(redis_server.url)) == before
    begun, whole = (
        json.loads(CliRunner().invoke(app, ["replay", path, "--json", "--matching", "next"]).stdout.splitlines()[-1])
        for path in (out, f"kafka://{kafka.bootstrap}/{topic_prefix}")
    )
    assert whole["records"] - begun["records"] == sum(offsets.values()) > 0
    assert (begun["state_hash"], begun["orders"]) == (whole["state_hash"], whole["orders"])
    assert begun["orders"] == 1


async def store(url: str, offsets: Mapping[str, int], rows: Mapping[str, bytes | None]) -> None:
    """What a worker leaves in the tables."""
    client = Redis.from_url(url)
    try:
        table = RedisTable(client, TableSettings("ringfence:", "test"))
        await table.prepare()
        await table.flush(0, 7, None, Snapshot(claim=-1, offsets=offsets, rows=rows))
    finally:
        await client.aclose()


async def everything(url: str) -> dict[Any, Any]:
    """All that Redis holds."""
    client = Redis.from_url(url)
    try:
        return {key: await client.hgetall(key) for key in sorted(await client.keys("*"))}
    finally:
        await client.aclose()
