"""The one order of a recording: streams of (topic, partition), each in the order of its offsets, merged by time.

A record is as late as the latest record before it in its partition: clocks of producers may step back, offsets never do. Of
two streams at one moment the topic that stands first in the catalogue goes first (what is traded before prices, and accounts
before transfers before fills, what a monitor wrote last; topics that the catalogue does not know after those, by name), then
the lower partition. So the order is a function of the records alone: not of how, when or in which pieces they were recorded.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Final, Protocol, TypeVar

from services.adapters.recordings_rows import Stream
from services.contracts.topics import SHADOW_ORDERS, TOPICS


class Timed(Protocol):
    """A record with the broker's time."""

    @property
    def timestamp_ms(self) -> int: ...


Item = TypeVar("Item", bound=Timed)
_FUNDED_FIRST: Final = (
    "accounts",
    "transfers",
    "fills",
)  # the catalogue names fills first; money comes before what it backs
_OTHERS: Final = [topic.name for topic in TOPICS if topic.name not in _FUNDED_FIRST]
_AT: Final = next(rank for rank, topic in enumerate(TOPICS) if topic.name in _FUNDED_FIRST)
_RANKS: Final = {
    name: rank for rank, name in enumerate([*_OTHERS[:_AT], *_FUNDED_FIRST, *_OTHERS[_AT:], SHADOW_ORDERS])
}


def stream_rank(stream: Stream) -> tuple[int, str, int]:
    """What decides between streams at one moment."""
    topic, partition = stream
    return _RANKS.get(topic, len(_RANKS)), topic, partition


def merged(streams: Mapping[Stream, Iterable[Item]]) -> Iterator[Item]:
    """All records in the order above. Holds one record of each stream; asks a stream for its next only when it is needed."""
    heap: list[tuple[int, int, Item, Iterator[Item]]] = []
    for rank, stream in enumerate(sorted(streams, key=stream_rank)):
        records = iter(streams[stream])
        for first in records:
            heap.append((first.timestamp_ms, rank, first, records))
            break
    heapify(heap)
    while heap:
        time_ms, rank, record, records = heap[0]
        yield record
        following = next(records, None)
        if following is None:
            heappop(heap)
        else:
            heapreplace(heap, (max(time_ms, following.timestamp_ms), rank, following, records))
