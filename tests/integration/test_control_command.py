"""`ringfence control` against a real Kafka: what an operator writes is what every worker reads."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.main import app
from services.contracts.codec import decode
from services.contracts.messages import Control
from tests.integration.venue import INSTRUMENT, Venue, now_ms
from tests.integration.watched import Watched
from tests.support.kafka import KafkaServer
from tests.support.process import free_port


def ringfence(bootstrap: str, prefix: str, *arguments: str) -> Result:
    environment = {
        "RINGFENCE_KAFKA__BOOTSTRAP": bootstrap, "RINGFENCE_KAFKA__TOPIC_PREFIX": prefix,
        "RINGFENCE_REDIS__URL": "redis://127.0.0.1:1/0",
    }  # fmt: skip
    return CliRunner().invoke(app, ["control", *arguments], env=environment)


async def test_what_is_written_is_a_control(kafka: KafkaServer, topic_prefix: str) -> None:
    async with Venue(kafka.bootstrap, topic_prefix) as venue:
        commands = [
            ("halt", "--scope", "instrument", "--target", INSTRUMENT, "--minutes", "15", "--reason", "feed in doubt"),
            ("resume", "--scope", "all", "--operator", "me"),
            ("clear", "--scope", "account", "--target", "a-1", "--through", "fills=7", "--through", "transfers=9"),
        ]
        done_of_known: list[str] = []
        for command in commands:
            done = await asyncio.to_thread(ringfence, kafka.bootstrap, topic_prefix, *command)
            assert done.exit_code == 0, done.output
            done_of_known.append(done.stderr)
        found = [(record.key, decode("controls", record.value)) for record in await venue.read_all(["controls"])]
        unknown = await asyncio.to_thread(
            ringfence, kafka.bootstrap, topic_prefix, "halt", "--scope", "instrument", "--target", "BTC-PREP"
        )
        assert (unknown.exit_code, "is it spelt" in unknown.stderr) == (0, True)
    assert "is it spelt" not in "".join(done_of_known)
    assert [key for key, _ in found] == [b"instrument:BTC-PERP", b"all:*", b"account:a-1"]
    halt, resume, clear = (message for _, message in found)
    assert isinstance(halt, Control)
    assert isinstance(resume, Control)
    assert isinstance(clear, Control)
    assert (halt.action, halt.scope, halt.target, halt.reason) == ("halt", "instrument", INSTRUMENT, "feed in doubt")
    assert halt.expires_ms == halt.ts_ms + 15 * 60_000
    assert abs(halt.ts_ms - now_ms()) < 60_000
    assert (resume.action, resume.scope, resume.target, resume.operator) == ("resume", "all", "*", "me")
    assert clear.through == {"fills": 7, "transfers": 9}
    assert len({halt.control_id, resume.control_id, clear.control_id}) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        ("halt", "--scope", "instrument"),
        ("halt", "--scope", "all", "--target", "x"),
        ("halt", "--scope", "instrument", "--target", "no space"),
        ("clear", "--scope", "account", "--target", "a-1", "--through", "fills"),
        ("halt", "--scope", "everything"),
    ],
)
def test_what_makes_no_sense_is_not_written(wrong: tuple[str, ...]) -> None:
    assert ringfence(f"127.0.0.1:{free_port()}", "", *wrong).exit_code == 2


def test_nobody_there_is_said() -> None:
    done = ringfence(f"127.0.0.1:{free_port()}", "", "resume", "--scope", "all")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "no Kafka broker answers" in done.stderr


async def test_a_worker_obeys(watched: Watched) -> None:
    (worker,) = await watched.work("w-1")
    place = (watched.venue.bootstrap, watched.venue.prefix)
    await asyncio.to_thread(ringfence, *place, "halt", "--scope", "all")
    await watched.check_fires("RingfenceHalted")
    assert await worker.metric("ringfence_halts") == 1
    await asyncio.to_thread(ringfence, *place, "resume", "--scope", "all")
    await watched.check_clears("RingfenceHalted")
