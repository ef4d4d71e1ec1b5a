"""The recorder on a real broker: killed and begun again, what it recorded is the topics, record for record."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from typer.testing import CliRunner

from services.adapters.recordings import Recording, RecordingError
from services.adapters.recordings_manifest import MANIFEST, read_manifest
from services.adapters.recordings_rows import Row
from services.cli.main import app
from tests.support.kafka import KafkaServer, create_topics
from tests.support.process import free_port
from tests.support.recorder import RecorderProcess, held, publish, publish_transaction
from tests.support.recordings import in_order, row, write_files

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
    await create_topics(kafka.bootstrap, {f"{topic_prefix}{topic}": number for topic, number in PARTITIONS.items()})
    out = tmp_path / "recording"
    live = ("--max-file-mb", "0.005", "--max-file-s", "1")

    seeds = count()

    async def keep_publishing() -> None:
        while True:
            await publish(kafka.bootstrap, some_rows(next(seeds), 100), topic_prefix)

    for files in (2, 3, 1):
        publishing = asyncio.create_task(keep_publishing())
        recorder = await RecorderProcess(kafka.bootstrap, topic_prefix, out, *live).start()
        for _ in range(files):
            assert (await recorder.line())["records"] > 0
        if files > 1:
            await recorder.kill()
        else:
            code, summary = await recorder.terminate()
            assert (code, summary["end_reached"]) == (0, False), summary["errors"]
        publishing.cancel()
        with suppress(asyncio.CancelledError):
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
    topics = {f"{prefix}{topic}": number for topic, number in PARTITIONS.items()}
    asyncio.run(create_topics(kafka.bootstrap, topics))
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
    asyncio.run(create_topics(kafka.bootstrap, {f"{topic_prefix}fills": 2, f"{topic_prefix}prices": 1}))
    code, _, errors = ringfence(
        kafka, topic_prefix, "replay", str(folder), "--to", f"kafka://{kafka.bootstrap}/{topic_prefix}"
    )
    assert (code, "has 2 partitions, the recording needs 4" in errors) == (1, True)
    assert recorded(f"kafka://{kafka.bootstrap}/{topic_prefix}") == []
