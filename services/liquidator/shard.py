"""One shard: partition p of the account topics, as this worker holds it. Plain state; who changes it says why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from services.adapters.ports import Snapshot
from services.contracts.topics import ACCOUNT_TOPICS

ORDERS: Final = "liquidation-orders"
assert ORDERS in ACCOUNT_TOPICS
NEVER: Final = float("inf")


class Reason(StrEnum):
    """Why a shard's gate is shut. The names are public: metrics, logs and `/readyz` carry them."""

    RECOVERING = "recovering"  # not read to the ends that the account topics had at the claim
    CLAIM = "claim"  # the newest claim in the log is not (known to be) ours
    FENCED = "fenced"  # somebody else claimed, or stored with a newer epoch
    ACCOUNT_LAG = "account_lag"  # account records wait unread for too long
    LOOP_GAP = "loop_gap"  # we stood still; the account topics are read to their ends first
    STORE_BEHIND = "store_behind"  # more rows wait to be stored than a restart could make up for in time
    CLOCK = "clock"  # the wall clock stepped, and no record says yet what the time is
    REVOKED = "revoked"  # the group is rebalancing, or we are stopping
    MALFUNCTION = "malfunction"  # an order was decided that no correct monitor decides; a person has to clear it
    REFUSED = "refused"  # going on would break a promise; a person has to act
    STANDBY = "standby"  # somebody else owns it; this worker folds it, to go on at once should the owner fall silent


HOLD_ORDERS: Final = frozenset({
    Reason.RECOVERING, Reason.FENCED, Reason.LOOP_GAP, Reason.REVOKED, Reason.REFUSED, Reason.MALFUNCTION, Reason.STANDBY,
})  # fmt: skip


class Shard:
    """Positions, ownership and what is under way. `next` are the offsets to fold next, `durable` those that the table holds."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.loaded = False
        self.given_up = False  # forgotten: what still holds this must not store it
        self.next: dict[str, int] = {}
        self.targets: dict[str, int] | None = None  # offsets to reach before deciding; None: not known yet
        self.tail: dict[str, int] | None = None  # ends of the account topics after a loop gap
        self.gaps = 0
        self.reasons: set[Reason] = {Reason.RECOVERING, Reason.CLAIM}

        self.claim = -1  # newest claim folded, anybody's
        self.fence: int | None = None  # offset of our newest claim: our epoch
        self.rival = -1  # newest epoch of somebody else that the table told us of
        self.awaited: str | None = None  # nonce of the claim that we sent and did not read back yet
        self.nonces: list[str] = []  # all that we sent
        self.claimed_at = 0.0
        self.fenced_at = 0.0

        self.durable: Mapping[str, int] | None = None
        self.pending: Snapshot | None = None  # being stored; the outcome of an attempt may be unknown
        self.others = 0  # counts the times that somebody else may have stored
        self.compared = 0  # so many of them are made up for
        self.asks = 0  # counts the times at which targets that were asked for before are too old
        self.barrier = 0  # what was sent up to this number must be settled before `pending` is stored
        self.stored_at = 0.0
        self.storing = asyncio.Lock()
        # Whether effects wait that the owner before us may not have written: the table must not pass them unwritten.
        self.keeps_back = False

        self.outstanding: dict[str, tuple[int, float]] = {}  # order id -> (number, sent at): sent, not read back
        self.unacked: dict[int, None] = {}  # numbers of other records that were not acknowledged
        self.progress = asyncio.Event()

    @property
    def caught_up(self) -> bool:
        """Whether everything is folded that the account topics held at our claim."""
        return self.targets is not None and all(self.next[topic] >= end for topic, end in self.targets.items())

    @property
    def holds_claim(self) -> bool:
        """Whether the newest claim of the log, as far as it was read, is ours."""
        return self.awaited is None and self.fence is not None and self.claim == self.fence > self.rival

    @property
    def may_store(self) -> bool:
        """Whether the table may be written: we know our epoch, nobody is known to have taken over, and nothing is kept back."""
        return (
            self.loaded
            and not self.given_up
            and self.fence is not None
            and not self.keeps_back
            and not self.reasons & {Reason.FENCED, Reason.LOOP_GAP, Reason.REFUSED, Reason.STANDBY}
        )

    @property
    def is_strange(self) -> bool:
        """Whether the table may not be what we built on and stored: it is to be compared."""
        return self.others != self.compared

    def is_anothers(self) -> None:
        """Somebody else owns the shard, or did: what it stores is the same fold, by another way. Nothing taken to be stored is still
        enough."""
        self.others += 1
        self.pending = None

    @property
    def has_news(self) -> bool:
        return self.durable is None or self.next != self.durable

    @property
    def waits_for_store(self) -> bool:
        """Whether something is to be stored, and by us."""
        return self.loaded and self.has_news and Reason.STANDBY not in self.reasons

    @property
    def has_read_tail(self) -> bool:
        """Whether everything is folded that the account topics held after we stood still."""
        return self.tail is not None and all(self.next[topic] >= end for topic, end in self.tail.items())

    @property
    def rows_kept(self) -> int:
        """Changed rows that the engine handed out and the table is not known to hold."""
        return len(self.pending.rows) if self.pending is not None else 0

    def given_again(self) -> None:
        """After a rebalance: what is in memory stays true, but ownership and ends must be established anew."""
        self.reasons = {Reason.RECOVERING, Reason.CLAIM} | (self.reasons & {Reason.MALFUNCTION})
        self.targets = self.tail = None
        self.awaited = None

    def is_settled(self, number: int) -> bool:
        """Whether all orders up to `number` were read back (or given up), and all other records acknowledged."""
        first_unacked = next(iter(self.unacked), NEVER)
        first_order = min((sent for sent, _ in self.outstanding.values()), default=NEVER)
        return first_unacked > number and first_order > number

    async def settled(self, number: int) -> None:
        """Wait for `is_settled`."""
        while not self.is_settled(number):
            self.progress.clear()
            await self.progress.wait()


def why_not_ready(shard: Shard) -> set[Reason]:
    """Of a shard that stands by: what keeps it from being at the ends of its topics. Of one of ours: what keeps its gate shut."""
    if Reason.STANDBY not in shard.reasons:
        return shard.reasons
    if not shard.loaded or Reason.LOOP_GAP in shard.reasons:
        return {Reason.RECOVERING}
    return shard.reasons - {Reason.STANDBY, Reason.RECOVERING, Reason.CLAIM, Reason.FENCED}
