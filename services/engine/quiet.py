"""Ticks that change nothing but the mark in use, folded a front at a time.

A tick is quiet where `Broadcasts.fold_price` would accept it, and the search would then name no bucket: so that it has no effect,
and of several quiet ticks of a price only the last is left to be seen. What shows it is done with floats, on the safe side of
every bound; a tick that may be anything else ends the front and takes the exact way.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from services.contracts.codec import decode
from services.contracts.decimals import ONE
from services.contracts.messages import Price
from services.contracts.records import Record
from services.contracts.ticks import PRICES, Tick, plain_ticks
from services.engine.context import Context
from services.engine.search import Search

FEWEST: Final = 4  # ticks in a row that are worth a look at all of them together
LEAST: Final = 32  # ticks that are read at a time
MOST: Final = 512
LONGEST_WAIT: Final = 16  # ticks until the next look, where none was quiet for a while
MOST_SOURCES: Final = 256
SAFE: Final = 1e-9  # of a price: more than floats are off by

_time_ms: Callable[[Record], int] = attrgetter("timestamp_ms")


class Ticks:
    """A stretch of records, and what was read of the ticks in it: more at a time while all of it turns out to be quiet."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self._start = self._end = 0
        self._ticks: list[Tick] = []
        self._ahead = LEAST
        self._resume = self._misses = 0

    def front(self, at: int) -> list[Tick]:
        """Those of the records from `at` on, in a row; none where a look is not worth it."""
        if at < self._resume:
            return []
        if not self._start <= at < self._end:
            self._read(at)
        return self._ticks[at - self._start :]

    def between(self, at: int, end: int) -> list[Tick]:
        """Those of the front that was given last."""
        return self._ticks[at - self._start : end - self._start]

    def ended(self, at: int, end: int) -> None:
        """The front from `at` on was quiet up to `end`. After several that were not quiet at all, it is a while until the next look."""
        self._misses = 0 if end > at else self._misses + 1
        self._resume = end + min(self._misses, LONGEST_WAIT)
        self._ahead = min(2 * self._ahead, MOST) if end == self._end else LEAST

    def _read(self, at: int) -> None:
        values = []
        for record in islice(self.records, at, at + self._ahead):
            if record.topic != PRICES:
                break
            values.append(record.value)
        self._ticks = plain_ticks(values) if len(values) >= FEWEST else []
        self._start, self._end = at, at + max(1, len(self._ticks) or len(values))


class Lane:
    """What a price's next tick is held against: the last one, and between what nothing happens."""

    __slots__ = ("_epoch", "_high", "_low", "_mark", "_move", "_sequence", "_source", "_ts_ms", "record")

    def __init__(self, tick: Price, mark: float, between: tuple[float, float], max_move: int | None) -> None:
        self._mark = mark
        self._low, self._high = between[0] * (1 + SAFE), between[1] * (1 - SAFE)
        self._move = float("inf") if max_move is None else max_move / ONE * (1 - SAFE) - SAFE
        self._ts_ms = tick.ts_ms
        self._source, self._epoch, self._sequence = tick.source, tick.source_epoch, tick.sequence
        self.record: Record | None = None  # the last that was taken

    def takes(self, tick: Tick, record: Record) -> bool:
        """Whether the tick is the newest, no jump, and within; then it is the one that the next is held against."""
        mark, ts_ms, sequence = float(tick.mark_price), tick.ts_ms, tick.sequence
        if not self._low < mark < self._high or abs(mark - self._mark) > self._move * self._mark:
            return False
        if sequence is None or self._sequence is None or tick.source != self._source:
            if ts_ms < self._ts_ms:
                return False
            self._source, self._epoch = tick.source, tick.source_epoch
        elif sequence <= self._sequence or tick.source_epoch != self._epoch:
            return False
        self._mark, self._ts_ms, self._sequence, self.record = mark, ts_ms, sequence, record
        return True


class Quiet:
    """Folds quiet ticks into the context."""

    def __init__(self, context: Context, search: Search) -> None:
        self._context = context
        self._search = search
        self._sources: set[str | None] = set()  # of ticks that were accepted: their names are well-formed

    def fold(self, ticks: Ticks, at: int, before_ms: float) -> int:
        """Where the quiet ticks from `at` on end; none with a broker time of `before_ms` or later is taken."""
        context, settings = self._context, self._context.settings
        if context.touched or context.later or context.unanswered or not settings.grade_prices:
            return at
        front = ticks.front(at)
        if not front:
            return at
        lanes: dict[str, Lane] = {}
        end, tolerance_ms, sources = at, settings.future_tolerance_ms, self._sources
        for tick, record in zip(front, islice(ticks.records, at, None), strict=False):
            time_ms, lane = record.timestamp_ms, lanes.get(tick.instrument) or self._open(lanes, tick.instrument)
            if (
                lane is None
                or time_ms >= before_ms
                or tick.ts_ms > time_ms + tolerance_ms
                or tick.source not in sources
            ):
                break
            if not lane.takes(tick, record):
                break
            end += 1
        ticks.ended(at, end)
        if end > at:
            self._settle(ticks.records[at:end], lanes)
        return end

    def _open(self, lanes: dict[str, Lane], price_id: str) -> Lane | None:
        """A lane for the price; None where any tick of it may mean something."""
        book = self._context.market.book
        state, limits = book.state(price_id), book.limits_of(price_id)
        if state is None or state.tick is None or not state.mark or state.pending is not None or state.from_future:
            return None
        between = None if limits.is_option else self._search.quiet_between(price_id)
        if between is None:
            return None
        if len(self._sources) >= MOST_SOURCES:
            self._sources.clear()
        self._sources.add(state.tick.source)
        lane = lanes[price_id] = Lane(state.tick, state.mark / ONE, between, limits.max_move)
        return lane

    def _settle(self, records: Sequence[Record], lanes: dict[str, Lane]) -> None:
        """Of each price the last tick is the one in use."""
        context, last = self._context, records[-1]
        for lane in lanes.values():
            if (record := lane.record) is not None:
                tick = decode(PRICES, record.value)
                assert isinstance(tick, Price), "plain ticks are well-formed"
                context.market.book.accept(tick, (record.partition, record.offset))
        context.records[PRICES] += len(records)
        context.market.places[PRICES] = last.partition, last.offset
        context.time_ms = max(context.time_ms, newest_ms(records))


def newest_ms(records: Sequence[Record]) -> int:
    """The latest broker time; of one record at least."""
    return max(map(_time_ms, records))
