"""topics, doctor and account against a real Kafka and a real Redis, as an operator calls them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import Result
from redis.asyncio import Redis
from typer.testing import CliRunner

from services.adapters.ports import Snapshot
from services.adapters.redis_table import RedisTable
from services.cli.main import app
from services.contracts.codec import encode
from services.contracts.messages import MarginTier
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.liquidator.build import table_settings
from services.liquidator.config import load
from tests.script.tape import Tape
from tests.support.kafka import KafkaServer
from tests.support.process import free_port
from tests.support.redis import RedisServer
from tests.unit.replay.fakes import instrument, record

NOWHERE = "redis://127.0.0.1:1/0"


def ringfence(environment: Mapping[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=dict(environment))


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def environment(kafka: KafkaServer, topic_prefix: str) -> dict[str, str]:
    return {
        "RINGFENCE_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "RINGFENCE_KAFKA__TOPIC_PREFIX": topic_prefix,
        "RINGFENCE_REDIS__URL": NOWHERE,
    }


def test_topics_are_created_once_and_checked(environment: dict[str, str]) -> None:
    missing = ringfence(environment, "topics", "check", "--json")
    assert missing.exit_code == 1
    assert {line["found"] for line in lines(missing)} == {None}
    created = ringfence(environment, "topics", "create", "--partitions", "3", "--json")
    assert created.exit_code == 0
    assert len(lines(created)) == len(lines(missing))
    again = ringfence(environment, "topics", "create")
    assert (again.exit_code, again.stdout) == (0, "")
    assert ringfence(environment, "topics", "check").exit_code == 0, "the count is taken from the orders topic"
    other = ringfence(environment, "topics", "check", "--partitions", "4")
    assert other.exit_code == 1
    assert "partitions is 3, needed is 4" in other.stdout


def test_unreachable_brokers_are_3_and_a_missing_setting_is_2() -> None:
    nobody = {"RINGFENCE_KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}", "RINGFENCE_REDIS__URL": NOWHERE}
    result = ringfence(nobody, "topics", "check")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no Kafka broker answers" in result.stderr
    assert ringfence({}, "topics", "check").exit_code == 2
    assert ringfence(nobody, "account", "a-1").exit_code == 3
    doctor = ringfence(nobody, "doctor", "--json")
    assert doctor.exit_code == 3
    assert [line["subject"] for line in lines(doctor) if line["verdict"] == "unreachable"] == ["kafka", "redis"]


async def publish(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


def test_doctor_finds_what_is_wrong_and_says_what_to_do(
    environment: dict[str, str], kafka: KafkaServer, redis_server: RedisServer, topic_prefix: str
) -> None:
    environment["RINGFENCE_REDIS__URL"] = redis_server.url
    first = ringfence(environment, "doctor", "--json")
    assert first.exit_code == 1
    assert {line["advice"] for line in lines(first) if line["subject"] == "topics"} == {"run `ringfence topics create`"}
    ringfence(environment, "topics", "create", "--partitions", "2")
    assert {line["verdict"] for line in lines(ringfence(environment, "doctor", "--json"))} == {"ok"}
    thin = instrument(
        "THIN-PERP",
        taker_fee_rate="0.0005",
        margin_tiers=[MarginTier(notional_floor="0", maintenance_margin_rate="0.0015")],
    )
    values = (encode(instrument("THIN-PERP")), encode(instrument()), b"not json", encode(thin))
    asyncio.run(publish(kafka.bootstrap, f"{topic_prefix}instruments", *values))
    (problem,) = [line for line in lines(ringfence(environment, "doctor", "--json")) if line["verdict"] == "problem"]
    assert problem["subject"] == "instruments"
    assert (
        problem["detail"] == "THIN-PERP: the first maintenance rate 0.0015 does not pay for a close that costs 0.0015"
    )
    assert "maintenance_margin_rate" in problem["advice"]
    told = ringfence(environment, "doctor")
    assert told.exit_code == 1
    assert "-> raise the first tier's" in told.stdout


async def stored(url: str, partition: int) -> None:
    """An account with an open order in the tables, as a worker stores it."""
    engine = Engine(Settings())
    for number, line in enumerate(Tape().long().mark("909").lines):
        value = json.dumps(line["value"]).encode()
        effects = engine.apply(
            record(line["topic"], value, offset=number, time_ms=line["timestamp_ms"], partition=partition)
        )
        for effect in effects:
            if getattr(effect, "topic", "") == "liquidation-orders":
                engine.apply(record("liquidation-orders", effect.message, offset=0, partition=partition))  # type: ignore[union-attr]  # only Emit has a topic
    config = load(None, {"kafka.bootstrap": "127.0.0.1:1", "redis.url": url})
    client = Redis.from_url(config.redis.url)
    try:
        table = RedisTable(client, table_settings(config, Settings()))
        await table.prepare()
        await table.flush(
            partition, 7, None, Snapshot(claim=7, offsets={"fills": 1}, rows=engine.take_dirty(partition))
        )
    finally:
        await client.aclose()


def test_an_account_is_shown_as_the_tables_hold_it(redis_server: RedisServer) -> None:
    environment = {"RINGFENCE_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RINGFENCE_REDIS__URL": redis_server.url}
    asyncio.run(stored(redis_server.url, 5))
    result = ringfence(environment, "account", "a-1", "--json")
    assert result.exit_code == 0
    own, bucket = lines(result)
    assert (own["account"], own["partition"], own["epoch"], own["margin_mode"]) == ("a-1", 5, 7, "isolated")
    assert (bucket["bucket"], bucket["status"], bucket["balances"]) == ("BTC-PERP", "liquidating", {"USDT": "-900"})
    assert bucket["positions"] == [
        {"instrument": "BTC-PERP", "position_side": "net", "quantity": "1", "open_cost": "1000"}
    ]
    (order,) = bucket["open_orders"]
    assert (order["side"], order["quantity"], order["limit_price"]) == ("sell", "0.067", "908.3")
    people = ringfence(environment, "account", "a-1")
    assert "order sell 0.067 BTC-PERP at 908.3" in people.stdout
    unknown = ringfence(environment, "account", "a-2")
    assert (unknown.exit_code, unknown.stdout) == (1, "")


def test_a_damaged_row_is_not_shown(redis_server: RedisServer) -> None:
    environment = {"RINGFENCE_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RINGFENCE_REDIS__URL": redis_server.url}

    async def damage() -> None:
        await stored(redis_server.url, 5)
        client = Redis.from_url(redis_server.url)
        await client.hset("ringfence:{p5}:buckets", "a-1|BTC-PERP", b"x" * 40)
        await client.aclose()

    asyncio.run(damage())
    result = ringfence(environment, "account", "a-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "fail their checksum" in result.stderr
