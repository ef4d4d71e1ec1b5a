"""One minute of faults on real processes: Kafka, Redis, two workers, a venue. More of it: `make chaos MINUTES=30`."""

from __future__ import annotations

import pytest

from tests.chaos.faults import BAG
from tests.chaos.world import Size, World
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

SEED = 1
MINUTES = 1.0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_minute_of_faults_loses_nothing_and_does_nothing_twice(
    kafka: KafkaServer, redis_server: RedisServer
) -> None:
    """The fixtures only say whether the parts can be had: the run kills servers of its own."""
    assert kafka.running
    assert redis_server.running
    outcome = await World(SEED, MINUTES, Size()).run()
    told = "\n".join([*outcome.found, *outcome.faults, outcome.logs])
    assert not outcome.found, f"python -m tests.chaos --minutes {MINUTES:g} --seed {SEED}: {outcome.line()}\n{told}"
    happened = {name for name in BAG if outcome.figures[f"fault_{name}"]}
    assert happened == set(BAG), f"a run without some kinds of faults proves less: {outcome.line()}"
    assert outcome.figures["fills"] > 5_000, outcome.line()
    assert outcome.figures["executed"] > 0, f"a run without liquidations proves nothing: {outcome.line()}"
