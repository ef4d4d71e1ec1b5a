"""The catalogue holds every topic of the contract, with the properties that the design rests on."""

from __future__ import annotations

import pytest

from services.contracts.codec import decode
from services.contracts.refusals import Reason, Refusal
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS, BY_NAME, TOPICS, Role

KEYS = {
    "instruments": "instrument",
    "collateral": "asset",
    "risk-parameters": "instrument",
    "controls": "scope:target",
    "prices": "instrument",
    "accounts": "account",
    "fills": "account",
    "transfers": "account",
    "order-events": "account",
    "account-statements": "account",
    "custody-statements": "custodian",
    "liquidation-orders": "account",
    "account-states": "account|bucket",
    "defaults": "account",
    "adl-orders": "instrument",
    "insurance-fund": "pool",
    "snapshots": "account|bucket",
    "journal": "shard",
    "dead-letters": "original key",
}
# One partition count, so that a worker owns the same accounts in each of them.
CO_PARTITIONED = {
    "accounts", "fills", "transfers", "order-events", "account-statements", "liquidation-orders", "account-states", "snapshots",
}  # fmt: skip
SMALL = {"prices", "fills", "transfers", "order-events"}


def test_every_topic_of_the_contract_is_there_once_with_its_key() -> None:
    assert {topic.name: topic.key for topic in TOPICS} == KEYS
    assert len(TOPICS) == len(KEYS)


def test_account_topics_share_the_configured_partition_count() -> None:
    assert {name: BY_NAME[name].partitions for name in CO_PARTITIONED} == dict.fromkeys(CO_PARTITIONED)
    assert set(ACCOUNT_TOPICS) <= CO_PARTITIONED


def test_what_every_worker_reads_whole_is_ordered_by_the_broker() -> None:
    assert set(BROADCAST_TOPICS) == {"instruments", "collateral", "risk-parameters", "controls", "prices"}
    assert {BY_NAME[name].timestamp_type for name in BROADCAST_TOPICS} == {"LogAppendTime"}


def test_the_bounds_of_records() -> None:
    assert {topic.name: topic.max_bytes for topic in TOPICS} == {
        name: 4096 if name in SMALL else 65_536 for name in KEYS
    }


def test_what_is_folded_into_state_is_not_compacted() -> None:
    assert {topic.name for topic in TOPICS if topic.compacted} == {"account-states", "snapshots"}


def test_prices_and_the_journal_live_at_least_as_long_as_orders() -> None:
    orders = BY_NAME["liquidation-orders"].retention_ms
    assert orders is not None
    for name in ("prices", "journal"):
        kept = BY_NAME[name].retention_ms
        assert kept is None or kept >= orders


def test_each_message_has_a_schema_of_its_own_and_is_read_or_written() -> None:
    schemas = [topic.schema for topic in TOPICS if topic.schema is not None]
    assert len(set(schemas)) == len(schemas)
    for topic in TOPICS:
        assert (topic.schema is None) == (topic.message is None)
        assert topic.received or topic.sent
        assert topic.sent == (topic.role is Role.OUTPUT or topic.name in {"liquidation-orders", "risk-parameters"})


@pytest.mark.parametrize("topic", [*(topic.name for topic in TOPICS if topic.message is None), "no-such-topic", ""])
def test_a_topic_without_messages_of_ours_is_refused_by_name(topic: str) -> None:
    refusal = decode(topic, b"{}")
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.UNKNOWN_TOPIC
