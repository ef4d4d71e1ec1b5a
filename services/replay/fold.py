"""A recording folded to the state that it leaves: what `ringfence margin` prints."""

from collections.abc import Iterable, Iterator
from typing import Final

from services.contracts.records import Record
from services.contracts.topics import BY_NAME, SHADOW_ORDERS, Role
from services.contracts.views import BucketView
from services.engine.effects import DeadLetter, Effect
from services.engine.settings import Settings
from services.replay.engines import ReplayEngine

WRITTEN_ONLY: Final = frozenset(
    {name for name, topic in BY_NAME.items() if topic.role is Role.OUTPUT} | {SHADOW_ORDERS}
)


def fold(engine: ReplayEngine, records: Iterable[Record], settings: Settings) -> Iterator[DeadLetter]:
    """Applies every record and fires what is due, and answers what was refused.

    The engine's gates are shut: it decides nothing, so orders are those that the recording holds. At the end so much time
    passes that an account without a record of its own counts as what it becomes then.
    """
    now_ms = 0
    for record in records:
        if record.topic in WRITTEN_ONLY:
            continue
        yield from _due(engine, record.timestamp_ms)
        now_ms = max(now_ms, record.timestamp_ms)
        yield from _letters(engine.apply(record))
    yield from _due(engine, now_ms + settings.provisional_account_ms)


def sorted_views(engine: ReplayEngine) -> list[BucketView]:
    """The buckets by account, then name."""
    return sorted(engine.buckets(), key=lambda view: (view.account, view.bucket))


def _due(engine: ReplayEngine, until_ms: int) -> Iterator[DeadLetter]:
    while (due_ms := engine.next_timer_ms()) is not None and due_ms <= until_ms:
        yield from _letters(engine.timer(due_ms))


def _letters(effects: list[Effect]) -> Iterator[DeadLetter]:
    return (effect for effect in effects if isinstance(effect, DeadLetter))
