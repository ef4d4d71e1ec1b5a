"""The gates: a shard decides only while no reason against it stands."""

from __future__ import annotations

from collections.abc import Callable

from services.adapters.ports import Meter
from services.engine.effects import Effect
from services.liquidator.engine_port import EnginePort
from services.liquidator.shard import Reason, Shard


class Gates:
    """Keeps the engine's gates and the metrics equal to the shards' reasons. What opening makes due is carried out at once."""

    def __init__(self, engine: EnginePort, carry_out: Callable[[list[Effect]], None], meter: Meter) -> None:
        self._engine = engine
        self._carry_out = carry_out
        self._meter = meter

    def shut(self, shard: Shard, *reasons: Reason) -> None:
        """Add reasons; from now on nothing is decided on the shard."""
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
            self._carry_out(self._engine.open_gate(shard.partition))
