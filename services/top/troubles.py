"""What is wrong, from what the workers say: the first thing that an engineer on call wants to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from services.contracts.status import ShardStatus, WorkerStatus
from services.top.numbers import duration
from services.top.workers import Seen

LAG_MS: Final = 1_000
UNSTORED_MS: Final = 2_000
QUEUED: Final = 1_000
NAMED: Final = 5  # instruments in one line


class Weight(IntEnum):
    """How bad it is; harm first."""

    HARM = 0
    BLIND = 1
    WATCH = 2


@dataclass(frozen=True, order=True)
class Trouble:
    weight: Weight
    text: str


def troubles(workers: Sequence[Seen], now: float) -> list[Trouble]:
    """Worst first."""
    found: list[Trouble] = []
    for worker in workers:
        if worker.lost_since is not None:
            lost = f"is lost for {duration((now - worker.lost_since) * 1000)}"
            why = f"{worker.name} {'does not answer' if worker.status is None else lost}: {worker.error}"
            found.append(Trouble(Weight.BLIND, why))
        elif worker.status is not None:
            found += _of_worker(worker.name, worker.status)
    return sorted([*found, *_of_all([worker for worker in workers if worker.lost_since is None])])


def _of_worker(name: str, status: WorkerStatus) -> list[Trouble]:
    found = [Trouble(Weight.BLIND, f"{name} is not live: {reason}") for reason in status.not_live]
    if bankrupt := status.statuses.get("bankrupt"):
        found.append(Trouble(Weight.HARM, f"{name}: {bankrupt} with equity below zero (bankrupt)"))
    found += _of_shards(name, status)
    found += [
        Trouble(Weight.BLIND, f"{name} is not ready: {reason}")
        for reason in status.not_ready
        if not reason.startswith("shard ")
    ]
    for grade in ("halted", "unconfirmed", "stale"):
        if count := status.price_grades.get(grade):
            names = [price.instrument for price in status.prices if price.grade == grade][:NAMED]
            which = ", ".join([*names, f"{count - len(names)} more"] if count > len(names) else names)
            weight = Weight.WATCH if grade == "halted" else Weight.BLIND
            found.append(Trouble(weight, f"{name}: {count} {grade} prices: {which}"))
    if halted := _halted(status.halts):
        found.append(Trouble(Weight.WATCH, f"{name}: an operator has halted {halted}"))
    for bad in ("dirty", "incomplete"):
        if count := status.statuses.get(bad):
            found.append(Trouble(Weight.BLIND, f"{name}: {count} buckets cannot be decided ({bad})"))
    if status.queued > QUEUED:
        found.append(Trouble(Weight.WATCH, f"{name}: {status.queued} records wait to be sent to Kafka"))
    return found


def _halted(halts: Mapping[str, int]) -> str:
    """Nothing where no halt is in force."""
    if halts.get("all"):
        return "everything"
    return " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in halts.items() if count)


def stands_by(shard: ShardStatus) -> bool:
    """Whether the worker folds the shard beside its owner, and is not to decide."""
    return "standby" in shard.reasons


def _of_shards(name: str, status: WorkerStatus) -> list[Trouble]:
    found: list[Trouble] = []
    for shard in status.shards:
        if not shard.deciding and not stands_by(shard):
            found.append(
                Trouble(Weight.BLIND, f"{name}: shard {shard.partition} is not deciding: {', '.join(shard.reasons)}")
            )
        lag_ms = max((lag.ms for lag in shard.lag.values()), default=0)
        if lag_ms > LAG_MS:
            found.append(Trouble(Weight.BLIND, f"{name}: shard {shard.partition} is {duration(lag_ms)} behind"))
        if shard.unstored_ms > UNSTORED_MS:
            text = f"{name}: shard {shard.partition} was not stored for {duration(shard.unstored_ms)}"
            found.append(Trouble(Weight.WATCH, text))
    return found


def _of_all(answering: Sequence[Seen]) -> list[Trouble]:
    """What only all of them together show."""
    named = [(each.name, each.status) for each in answering if each.status is not None and not each.status.shadow]
    statuses = [status for _, status in named]
    owners: dict[int, list[str]] = {}
    for name, status in named:
        for shard in status.shards:
            if shard.deciding:
                owners.setdefault(shard.partition, []).append(name)
    found = [
        Trouble(Weight.HARM, f"shard {partition} is decided by {' and '.join(names)}")
        for partition, names in owners.items()
        if len(names) > 1
    ]
    for what, values in (
        ("settings", {status.settings_id for status in statuses}),
        ("versions", {status.version for status in statuses}),
    ):
        if len(values) > 1:
            found.append(Trouble(Weight.WATCH, f"workers run different {what}: {', '.join(sorted(values))}"))
    return found
