"""What may keep an order from leaving: a cap delays it, evidence of malfunction halts its shard until a person has cleared it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from services.adapters.ports import Clock, Meter
from services.contracts.codec import decode
from services.contracts.messages import Control, Order
from services.contracts.records import Record
from services.liquidator.dispatch import Alarms
from services.liquidator.gates import Gates
from services.liquidator.guard import Evidence, Guard
from services.liquidator.second_opinion import SecondOpinion
from services.liquidator.shard import Reason, Shard
from services.liquidator.throttle import Caps, Throttle
from services.liquidator.turns import Turns

CONTROLS: Final = "controls"
NOT_OURS: Final = frozenset({Reason.FENCED, Reason.REVOKED, Reason.REFUSED, Reason.STANDBY})
LOOK_EVERY_S: Final = 1.0
AUDITED: Final = 5  # accounts at each timer: some thousandths of the time


class Brakes:
    """Between the decisions and the outbox."""

    def __init__(
        self, caps: Caps, guard: Guard, opinion: SecondOpinion, alarm_after_ms: int, *, engine: Turns, gates: Gates,
        claim: Callable[[Shard], None], alarms: Alarms, meter: Meter, clock: Clock,
    ) -> None:  # fmt: skip
        self.throttle = Throttle(caps, clock)
        self.halted: dict[int, Evidence] = {}  # by partition; it outlives the shard's stay at this worker
        self._guard = guard
        self._opinion = opinion
        self._alarm_after_s = alarm_after_ms / 1000
        self._engine = engine
        self._gates = gates
        self._claim = claim
        self._alarms = alarms
        self._meter = meter
        self._clock = clock
        self._looked: dict[int, float] = {}

    def may_go(self, shard: Shard, order: Order, *, is_fresh: bool) -> bool:
        """Whether a decided order leaves now. One that does not is decided again: with room, or when the halt is cleared.

        `is_fresh`: nothing was folded since it was decided.
        """
        if shard.partition in self.halted:
            return False
        evidence = self._guard.evidence(order) or (self._disagreement(order) if is_fresh else None)
        if evidence is not None:
            self.halt(shard, evidence)
            return False
        if self.throttle.is_off:
            return True
        passes = self.throttle.passes(shard.partition, order, self._engine.notional(order))
        if not passes:
            self._meter.event("order_held")
        return passes

    def halt(self, shard: Shard, evidence: Evidence) -> None:
        """Shut the shard until an operator clears it; what was sent before is not touched."""
        self.halted[shard.partition] = evidence
        self._gates.shut(shard, Reason.MALFUNCTION)
        self._meter.event("malfunction")
        self._alarms.sound(
            evidence.name, partition=shard.partition, account=evidence.account, bucket=evidence.bucket,
            instrument=evidence.instrument, detail=evidence.detail,
        )  # fmt: skip

    def began(self, shard: Shard) -> None:
        """The shard is (again) ours: a halt that nobody cleared still stands."""
        if shard.partition in self.halted:
            shard.reasons.add(Reason.MALFUNCTION)

    def forget(self, partition: int) -> None:
        """The engine forgot the shard."""
        self.throttle.forget(partition)

    def _disagreement(self, order: Order) -> Evidence | None:
        """What the reference says otherwise, if it is asked about this one."""
        if not self._opinion.is_due() or (basis := self._engine.basis(order)) is None:
            return None
        detail = self._opinion.differs(order, basis)
        if detail is None:
            return None
        return Evidence("reference_differs", detail, order.account, order.bucket, order.instrument)

    def learn(self, records: Sequence[Record]) -> None:
        """What the second opinion rests on. Before the engine decides by the same records: an older one would contradict it."""
        self._opinion.read(records)

    def read(self, records: Sequence[Record], shards: dict[int, Shard]) -> None:
        """Controls that clear a halt. What was decided while it stood is unknown to the log: claim, and decide from the level."""
        if not self.halted:
            return
        for record in records:
            control = decode(CONTROLS, record.value) if record.topic == CONTROLS else None
            if not isinstance(control, Control):
                continue
            for partition, evidence in list(self.halted.items()):
                if evidence.is_cleared_by(control):
                    self._clear(partition, evidence, shards.get(partition))

    def tick(self, shard: Shard) -> None:
        """Let out what there is room for, and say so when it waits for too long."""
        if self.throttle.is_off or shard.reasons:
            return
        self._look(shard)
        self.throttle.release(shard.partition, self._engine.decide_again)

    def _look(self, shard: Shard) -> None:
        now = self._clock.monotonic()
        if now - self._looked.get(shard.partition, -LOOK_EVERY_S) < LOOK_EVERY_S:
            return
        self._looked[shard.partition] = now
        waits_s = self.throttle.oldest_s(shard.partition)
        if waits_s > self._alarm_after_s:
            self._alarms.sound(
                "orders_throttled", partition=shard.partition, held=self.throttle.held(shard.partition),
                oldest_s=round(waits_s, 3),
            )  # fmt: skip

    def audit(self, shards: Mapping[int, Shard]) -> None:
        """Look at a few accounts without the index. One that it should have found halts its shard."""
        for partition, account, bucket in self._engine.overlooked(AUDITED):
            shard = shards.get(partition)
            if shard is not None and shard.partition not in self.halted:
                detail = "liquidatable at the marks in use, and the index did not find it"
                self.halt(shard, Evidence("certificate_violated", detail, account, bucket, ""))

    def _clear(self, partition: int, evidence: Evidence, shard: Shard | None) -> None:
        del self.halted[partition]
        self._guard.forgive(evidence)
        self._meter.event("malfunction_cleared")
        if shard is not None:
            if shard.loaded and not shard.reasons & NOT_OURS:
                self._claim(shard)  # a shard that is not ours now is claimed when it is
            self._gates.lift(shard, Reason.MALFUNCTION)
