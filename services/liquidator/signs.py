"""Signs of life: which session owns a shard, and for how long it has said nothing. Pure; times are seconds of one steady clock.

Every session writes to the journal about each 100 ms, its timers if nothing else. Silence is counted up to the moment at which the
broker last said that nothing more waits there, so that a reader that is cut off, or behind, hears no silence.
"""

from __future__ import annotations

from typing import Final

from services.contracts.journal import Gate, JournalRecord
from services.contracts.messages import Claim

INSTANCE_CHARS: Final = 27  # of a session's name, which is an id of the contracts
SESSIONS_KEPT: Final = 256
GRACE: Final = 5.0  # times the silence allowed: what owners get after nothing could be heard of anybody


def session_name(instance: str, unique: str) -> str:
    """The name of one life of a worker; `unique` has no colon."""
    return f"{instance[:INSTANCE_CHARS]}:{unique}"


def nonce_of(session: str, number: int) -> str:
    """The nonce of a claim: by it a reader knows the session."""
    return f"{session.rpartition(':')[2]}-{number}"


def claimant(claim: Claim) -> str:
    """The session that wrote the claim, if its nonce is one of `nonce_of`; else a name that is never heard of."""
    return session_name(claim.instance, claim.nonce.rpartition("-")[0])


class Signs:
    """What was heard of whom. A session that was never heard of never falls silent: it may be one without a journal."""

    def __init__(self, own: str, silence_s: float) -> None:
        self._own = own
        self._silence_s = silence_s
        self._heard: dict[str, tuple[int, float]] = {}  # session -> partition of its journal, and when it last wrote
        self._claims: dict[int, str] = {}  # shard -> the newest claimant that was read
        self._openers: dict[int, tuple[str, int]] = {}  # shard -> who last opened its gate, and when by its own clock
        self._listened: dict[int, float] = {}  # partition of the journal -> up to when nothing waits there
        self._not_before = float("-inf")

    def heard(self, record: JournalRecord, partition: int, now: float) -> None:
        """A record of the journal."""
        self._heard.pop(record.session, None)  # the newest last
        self._heard[record.session] = partition, now
        if len(self._heard) > SESSIONS_KEPT:
            del self._heard[next(iter(self._heard))]
        for entry in record.inputs:
            if isinstance(entry, Gate) and entry.open:
                known = self._openers.get(entry.shard)
                if known is None or record.ts_ms >= known[1]:
                    self._openers[entry.shard] = record.session, record.ts_ms

    def listened(self, partition: int, now: float) -> None:
        """The broker says that nothing more waits in this partition of the journal. After a time without its word nobody is blamed
        for what could not be heard."""
        before = self._listened.get(partition)
        if before is not None and now - before > self._silence_s / 2:
            self.renew(now)
        self._listened[partition] = now

    def renew(self, now: float) -> None:
        """Nothing could be heard until now: silence is counted from a little later on."""
        self._not_before = now + (GRACE - 1) * self._silence_s

    def claimed(self, shard: int, claim: Claim) -> None:
        """A claim was read: only the silence of its session counts from now on."""
        self._claims[shard] = claimant(claim)

    def owner(self, shard: int) -> str | None:
        """The newest claimant; before a claim was read, whoever opened the gate last."""
        if shard in self._claims:
            return self._claims[shard]
        opener = self._openers.get(shard)
        return None if opener is None else opener[0]

    def silent_s(self, shard: int) -> float:
        """For how long the owner has been silent; 0 where that cannot be known, or the owner is ourselves."""
        owner = self.owner(shard)
        if owner is None or owner == self._own or owner not in self._heard:
            return 0.0
        partition, last = self._heard[owner]
        return max(0.0, self._listened.get(partition, last) - max(last, self._not_before))
