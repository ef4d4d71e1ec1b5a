"""What the broadcast reader says of itself before it is connected."""

from __future__ import annotations

from services.adapters.broadcast import BroadcastReader, BroadcastSettings
from services.adapters.clock import SystemClock
from services.adapters.kafka_connection import KafkaConnection


async def test_it_lags_behind_nothing_before_it_is_connected() -> None:
    """The metrics are answered from the first moment on, when there is no consumer yet."""
    settings = BroadcastSettings(KafkaConnection(bootstrap="127.0.0.1:1", client_id="t"), {"prices": "prices"}, 0, 100)

    async def fold(_: object) -> None: ...

    assert BroadcastReader(settings, SystemClock(), fold, lambda: None).lag() == {}
