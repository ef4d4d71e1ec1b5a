"""Reference data as far as a recording was read, and what of it one order may have seen."""

from services.contracts.records import Record
from services.replay.dockets import REFERENCE_TOPICS, Expected


class References:
    """Broadcast records but prices, as far as they were read; those that an order may have seen, its last ones last."""

    def __init__(self) -> None:
        self._records: dict[str, list[Record]] = {topic: [] for topic in REFERENCE_TOPICS}
        self._ends: dict[tuple[str, int], int] = {}

    def saw(self, record: Record) -> None:
        self._records[record.topic].append(record)
        self._ends[record.topic, record.partition] = record.offset

    def missing(self, expected: Expected) -> list[str]:
        named = ((topic, expected.place(topic)) for topic in REFERENCE_TOPICS)
        return [f"{t}[{p[0]}]@{p[1]}" for t, p in named if p is not None and self._ends.get((t, p[0]), -1) < p[1]]

    def seen_by(self, expected: Expected, now_ms: int) -> list[Record]:
        """Of the partition that the order names up to its offset, of others what was written by its time."""
        seen: list[Record] = []
        for topic in REFERENCE_TOPICS:
            named = expected.place(topic)
            if named is None:
                continue
            others = [r for r in self._records[topic] if r.partition != named[0] and r.timestamp_ms <= now_ms]
            seen += others
            seen += [r for r in self._records[topic] if r.partition == named[0] and r.offset <= named[1]]
        return seen
