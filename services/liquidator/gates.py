"""The gates: a shard decides only while no reason against it stands."""

from __future__ import annotations

from services.adapters.ports import Meter
from services.liquidator.shard import Reason, Shard
from services.liquidator.turns import Turns


class Gates:
    """Keeps the engine's gates and the metrics equal to the shards' reasons. A reason is there at once, and with it whatever asks for
    reasons changes; the engine's gate follows in its turn."""

    def __init__(self, engine: Turns, meter: Meter) -> None:
        self._engine = engine
        self._meter = meter

    def shut(self, shard: Shard, *reasons: Reason) -> None:
        """Add reasons; nothing is decided on the shard by what is begun from now on."""
        new = set(reasons) - shard.reasons
        if not new:
            return
        if not shard.reasons:
            self._engine.shut_gate(shard.partition)
        shard.reasons |= new
        self._meter.gate(shard.partition, frozenset(shard.reasons))

    def lift(self, shard: Shard, *reasons: Reason) -> None:
        """Take reasons away; with the last one the gate opens."""
        gone = set(reasons) & shard.reasons
        if not gone:
            return
        shard.reasons -= gone
        self._meter.gate(shard.partition, frozenset(shard.reasons))
        if not shard.reasons:
            self._engine.open_gate(shard.partition, lambda: not (shard.reasons or shard.given_up))
