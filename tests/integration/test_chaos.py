"""One minute of faults on real processes: Kafka, Redis, two workers, a standby, a venue. More of it: `make chaos MINUTES=30`."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from msgspec import structs

from services.contracts.codec import decode, encode
from services.contracts.messages import Fill, Order
from services.contracts.records import Record
from services.engine.rows import BucketRow, decode_row
from tests.chaos.__main__ import explain
from tests.chaos.faults import BAG
from tests.chaos.proof import Proof, Recorded
from tests.chaos.venue import PARTITIONS
from tests.chaos.world import Size, World
from tests.simulation.oracle import Messages, valid_orders
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

SEED = 1
MINUTES = 1.0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_minute_of_faults_loses_nothing_and_does_nothing_twice(
    kafka: KafkaServer, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The fixtures only say whether the parts can be had: the run kills servers of its own."""
    caplog.set_level(logging.CRITICAL, "aiokafka")  # that the broker is away, we know: what failed would drown in it
    assert kafka.running
    assert redis_server.running
    world = World(SEED, MINUTES, Size())
    outcome = await world.run()
    if outcome.found:
        explain(outcome)
        pytest.fail(f"{outcome.reason()} ({outcome.line()})", pytrace=False)
    happened = {name for name in BAG if outcome.figures[f"fault_{name}"]}
    assert happened == set(BAG), f"a run without some kinds of faults proves less: {outcome.line()}"
    assert outcome.figures["taken_over_by_standby"] > 0, (
        f"a standby that stood by only proves nothing: {outcome.line()}"
    )
    assert outcome.figures["fills"] > 5_000, outcome.line()
    assert outcome.figures["executed"] > 0, f"a run without liquidations proves nothing: {outcome.line()}"
    check_that_planted_faults_are_found(world.recorded)


# By the journal; or, if whoever wrote it was killed right after, and may have taken its journal with it, by its evidence; or by a
# session that took the shard over while the order was open, in a state that includes it.
NOT_EXPLAINED = "was decided by no session|does not follow from its evidence|in a state that no session"


def check_that_planted_faults_are_found(recorded: Recorded) -> None:
    """A proof that finds nothing must be able to find something: each of these is one lie about the run that just passed."""
    found_by: dict[Callable[[Recorded], Recorded], tuple[Callable[[Proof], None], str]] = {
        a_lost_fill: (Proof.check_venue, "fills, the venue told"),
        a_second_execution: (Proof.check_executions, "more than once"),
        an_order_above_the_position: (Proof.check_orders, ": closes "),
        a_row_of_another_bucket: (Proof.check_tables, " stored"),
        an_order_of_nobody: (Proof.check_journal, NOT_EXPLAINED),
    }
    for plant, (check, expected) in found_by.items():
        proof = Proof(plant(recorded))
        check(proof)
        assert any(re.search(expected, text) for text in proof.found), (
            f"{plant.__name__} was not found, only {proof.found[:5]}"
        )


def a_lost_fill(recorded: Recorded) -> Recorded:
    told = Counter(fill.fill_id for _, fill in fills(recorded, executed=False))
    record, _ = next(found for found in fills(recorded, executed=False) if told[found[1].fill_id] == 1)
    return replace(recorded, topics=recorded.topics.with_value(record, b"{}"))


def a_second_execution(recorded: Recorded) -> Recorded:
    """A trade says that it executed an order, which has executed."""
    _, execution = next(fills(recorded, executed=True))
    record, trade = next(
        found for found in fills(recorded, executed=False) if found[1].account == execution.account
    )  # of one partition, so that it is counted with the other
    value = encode(structs.replace(trade, order_id=execution.order_id))
    return replace(recorded, topics=recorded.topics.with_value(record, value))


def an_order_above_the_position(recorded: Recorded) -> Recorded:
    record, order = first_order(recorded)
    value = encode(structs.replace(order, quantity=f"9{order.quantity}"))
    return replace(recorded, topics=recorded.topics.with_value(record, value))


def an_order_of_nobody(recorded: Recorded) -> Recorded:
    record, order = first_order(recorded)
    value = encode(structs.replace(order, limit_price=f"9{order.limit_price}"))
    return replace(recorded, topics=recorded.topics.with_value(record, value))


def a_row_of_another_bucket(recorded: Recorded) -> Recorded:
    rows = dict(recorded.rows[0])
    balances = {field: row.balances for field, raw in rows.items() if isinstance(row := decode_row(raw), BucketRow)}
    one = next(iter(balances))
    other = next(field for field, held in balances.items() if held != balances[one])
    return replace(recorded, rows={**recorded.rows, 0: {**rows, one: rows[other]}})


def fills(recorded: Recorded, *, executed: bool) -> Iterator[tuple[Record, Fill]]:
    """Executions of orders, or what clients did."""
    for partition in range(PARTITIONS):
        for record in recorded.topics.log("fills", partition):
            fill = decode("fills", record.value)
            if isinstance(fill, Fill) and (fill.order_id is not None) is executed:
                yield record, fill


def first_order(recorded: Recorded) -> tuple[Record, Order]:
    messages = Messages(recorded.topics)
    return next(found for partition in range(PARTITIONS) for found in valid_orders(messages, partition))
