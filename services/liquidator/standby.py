"""Standing by: fold like the owner, write nothing, and claim when the owner has been silent for too long.

What the engine wants written meanwhile is kept: the owner may have died before it wrote the last of it. The owner stores only behind
what it wrote, so what an account record made due is let go once the table is past that record; what a price or time made due, after a
few seconds. States, defaults and dead letters may come twice, orders cannot, for the gate is shut. Which rows changed is not kept: at
the takeover the whole table is compared with the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from services.adapters.ports import Clock, Corrupt, Logger, Meter, Table, Unreachable
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.effects import Effect
from services.liquidator.gates import Gates
from services.liquidator.shard import Reason, Shard
from services.liquidator.signs import Signs
from services.liquidator.turns import Turns

KEPT_S: Final = 5.0  # beyond the silence: how long the owner's last records may have been on their way
MOST_KEPT: Final = 50_000  # effects of one shard
TRIM_EVERY_S: Final = 1.0
STAYS: Final = frozenset({Reason.REFUSED, Reason.REVOKED, Reason.MALFUNCTION})  # a person's to lift, or the end


@dataclass(frozen=True)
class StandbyRules:
    """Who we are in the journal, and for how long an owner may be silent."""

    session: str
    silence_s: float


class Standby:
    """The shards that a standby worker does not own."""

    def __init__(
        self, rules: StandbyRules, *, engine: Turns, table: Table, gates: Gates, clock: Clock, meter: Meter,
        log: Logger, claim: Callable[[Shard], None], spawn: Callable[..., None],
    ) -> None:  # fmt: skip
        self._rules = rules
        self.signs = Signs(rules.session, rules.silence_s)
        self._engine = engine
        self._table = table
        self._gates = gates
        self._clock = clock
        self._meter = meter
        self._log = log
        self._claim = claim
        self._spawn = spawn
        self._kept: dict[int, deque[tuple[float, Effect]]] = {}
        self._trimmed: dict[int, float] = {}

    # -- stepping back and up --------------------------------------------------------------------------------------------

    def step_back(self, shard: Shard) -> None:
        """Somebody else owns the shard: from here on fold only. What is in memory stays true."""
        self._gates.shut(shard, Reason.STANDBY)
        self._kept.setdefault(shard.partition, deque(maxlen=MOST_KEPT))
        shard.keeps_back = True
        shard.outstanding.clear()  # what was sent and not read before the newer claim never counts
        shard.progress.set()

    def step_up(self, shard: Shard) -> None:
        """The shard is claimed: what was folded meanwhile has to be stored on top of what the table holds by then."""
        shard.is_anothers()
        self._gates.shut(shard, Reason.RECOVERING)
        self._gates.lift(shard, Reason.STANDBY)

    def look(self, shard: Shard) -> None:
        """Claim the shard if its owner is silent; else keep what waits here bounded."""
        if Reason.STANDBY not in shard.reasons or not shard.loaded or shard.reasons & STAYS:
            return
        now = self._clock.monotonic()
        silent_s = self.signs.silent_s(shard.partition)
        if silent_s >= self._rules.silence_s:
            self._meter.event("taken_over")
            self._log.warning(
                "taken_over", partition=shard.partition, session=self.signs.owner(shard.partition), silent_s=round(silent_s, 3)
            )  # fmt: skip
            self._claim(shard)
            return
        due = now - self._trimmed.get(shard.partition, float("-inf")) > TRIM_EVERY_S
        if not due:
            return
        self._trimmed[shard.partition] = now
        self._engine.forget_dirty(shard.partition)
        if self._has_old(shard.partition):
            self._spawn(shard.partition, self._trim(shard))

    def _has_old(self, partition: int) -> bool:
        kept = self._kept[partition]
        return bool(kept) and self._is_old(kept[0])

    def _is_old(self, kept: tuple[float, Effect]) -> bool:
        return self._clock.monotonic() - kept[0] > self._rules.silence_s + KEPT_S

    async def _trim(self, shard: Shard) -> None:
        """Let go what the owner has written by now."""
        try:
            stored = await self._table.stored_offsets(shard.partition)
        except (Unreachable, Corrupt) as error:
            self._log.warning("not_trimmed", partition=shard.partition, error=str(error))
            return
        kept = self._kept.get(shard.partition, deque())  # none is left where it was claimed and read meanwhile
        while kept and self._is_old(kept[0]) and _is_behind(kept[0][1], stored or {}):
            kept.popleft()

    # -- what is not written -----------------------------------------------------------------------------------------------

    def keeps(self, shard: Shard | None, effect: Effect) -> bool:
        """Whether an effect is kept back, for now or for ever. One of no shard is written by every owner."""
        if shard is None:
            return bool(self._kept)
        kept = self._kept.get(shard.partition)
        if kept is None:
            return False
        kept.append((self._clock.monotonic(), effect))
        return True

    def release(self, shard: Shard) -> list[Effect]:
        """Our claim was read: what was kept back, to be carried out now, and nothing is kept from here on."""
        shard.keeps_back = False
        return [effect for _, effect in self._kept.pop(shard.partition, ())]

    def forget(self, shard: Shard) -> None:
        """The engine forgot the shard; what is folded again is kept again."""
        self._kept.pop(shard.partition, None)
        self._trimmed.pop(shard.partition, None)


def _is_behind(effect: Effect, stored: Mapping[str, int]) -> bool:
    """Whether the table is past what made an effect due; of a price or a time nothing is stored, and age must do."""
    cause = effect.cause
    return cause.topic not in ACCOUNT_TOPICS or stored.get(cause.topic, 0) > cause.offset
