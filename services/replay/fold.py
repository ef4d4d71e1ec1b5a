"""A recording folded to the state that it leaves: what `ringfence margin` prints."""

from collections.abc import Iterable, Iterator
from typing import Final

from services.adapters.recordings import Start
from services.contracts.codec import decode, encode
from services.contracts.messages import Account, Transfer
from services.contracts.records import Record
from services.contracts.topics import BY_NAME, SHADOW_ORDERS, Role
from services.contracts.views import BucketView
from services.engine.effects import DeadLetter, Effect
from services.replay.engines import ReplayEngine
from services.replay.start import begins_now, restore

WRITTEN_ONLY: Final = frozenset(
    {name for name, topic in BY_NAME.items() if topic.role is Role.OUTPUT} | {SHADOW_ORDERS}
)


def fold(engine: ReplayEngine, records: Iterable[Record], start: Start | None = None) -> Iterator[DeadLetter]:
    """Applies every record and fires what is due, and answers what was refused.

    The engine's gates are shut: it decides nothing, so orders are those that the recording holds. At the end of the recording
    an account that nobody described becomes what a worker takes it for once it has caught up.
    """
    undescribed = Undescribed(() if start is None else start.accounts)
    for record in records:
        if record.topic in WRITTEN_ONLY:
            continue
        if start is not None and begins_now(start, record):
            restore(engine, start)
            start = None
        yield from _due(engine, record.timestamp_ms)
        yield from _letters(engine.apply(record))
        undescribed.saw(record)
    if start is not None:
        restore(engine, start)
    for record in undescribed.records():
        yield from _letters(engine.apply(record))


class Undescribed:
    """Accounts with a deposit and without a record of their own; not those that the recording begins with."""

    def __init__(self, known: Iterable[str]) -> None:
        self._described = set(known)
        self._first_deposits: dict[str, tuple[str, int]] = {}  # asset, partition

    def saw(self, record: Record) -> None:
        if record.topic not in ("accounts", "transfers"):
            return
        message = decode(record.topic, record.value)
        if isinstance(message, Account):
            self._described.add(message.account)
        elif isinstance(message, Transfer) and message.reason == "deposit":
            self._first_deposits.setdefault(message.account, (message.asset, record.partition))

    def records(self) -> list[Record]:
        """What would describe them: cross, client, itself as client, valued in the asset first deposited."""
        return [
            Record(
                topic="accounts",
                partition=partition,
                offset=0,
                timestamp_ms=0,
                key=None,
                value=encode(Account(account=name, client=name, margin_mode="cross", valuation_asset=asset)),
            )
            for name, (asset, partition) in sorted(self._first_deposits.items())
            if name not in self._described
        ]


def sorted_views(engine: ReplayEngine) -> list[BucketView]:
    """The buckets by account, then name."""
    return sorted(engine.buckets(), key=lambda view: (view.account, view.bucket))


def _due(engine: ReplayEngine, until_ms: int) -> Iterator[DeadLetter]:
    while (due_ms := engine.next_timer_ms()) is not None and due_ms <= until_ms:
        yield from _letters(engine.timer(due_ms))


def _letters(effects: list[Effect]) -> Iterator[DeadLetter]:
    return (effect for effect in effects if isinstance(effect, DeadLetter))
