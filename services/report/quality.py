"""What is wrong with a recording as data: missing and repeated offsets, time that runs backwards, late, silent, stuck and jumping prices.

These are findings about the input, not about decisions: an engine that sees the same input decides the same.
"""

from collections import OrderedDict
from typing import Any, Final

from msgspec import Struct

from services.contracts.messages import Fill, Message, OrderEvent, Price, Transfer
from services.contracts.records import Record
from services.contracts.topics import BY_NAME, Role
from services.report.market import Timeline

LATE_MS: Final = 1_000  # a price older than this on arrival is late
FUTURE_MS: Final = 250  # a price further ahead of the broker's clock than this is from the future
STUCK_MS: Final = 60_000  # a mark that did not change for so long over
STUCK_TICKS: Final = 30  # so many ticks is stuck
SILENT_MS: Final = 10_000  # where the instrument's record does not say how old a price may be
JUMP: Final = 0.05  # where the instrument's record does not say what one tick may move
PRICE_IDS: Final = 2_000  # price ids that are checked one by one
REMEMBERED: Final = 65_536  # ids of facts
SHOWN_EACH: Final = 12  # places told of each kind of finding
INPUTS: Final = frozenset(name for name, topic in BY_NAME.items() if topic.role in {Role.ACCOUNT, Role.BROADCAST})


class Finding(Struct, kw_only=True):
    """One kind of finding in one place; `worst` in the kind's own unit, `at` where it was worst."""

    count: int = 0
    total: float = 0.0
    worst: float = 0.0
    at: tuple[str, int, int, int] = ("", 0, 0, 0)  # topic, partition, offset, time


class Log(Struct, kw_only=True):
    """A partition as it was read."""

    records: int = 0
    first_offset: int = 0
    last_offset: int = -1
    last_ms: int = 0
    first_ms: int = 0


class Feed(Struct, kw_only=True):
    """One price id as it was read."""

    arrived_ms: int
    source: tuple[str | None, int]  # source, epoch
    sequence: int | None
    ts_ms: int
    mark: float | None = None
    mark_ms: int = 0
    ticks: int = 0


class Quality:
    """Told every record in order, with what it decodes to (None where it does not)."""

    def __init__(self, market: Timeline) -> None:
        self._market = market
        self._logs: dict[tuple[str, int], Log] = {}
        self._feeds: dict[str, Feed] = {}
        self._findings: dict[tuple[str, str], Finding] = {}
        self._ids: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unchecked: set[str] = set()

    def record(self, record: Record, message: Message | None) -> None:
        if record.topic in INPUTS:
            self._log(record)
        match message:
            case Price():
                self._price(record, message)
            case Fill():
                self._fact(record, f"{message.account}/{message.fill_id}")
            case Transfer():
                self._fact(record, f"{message.account}/{message.transfer_id}")
            case OrderEvent(status="filled"):
                self._fact(record, message.order_id)
            case _:
                pass

    def _log(self, record: Record) -> None:
        place = f"{record.topic}[{record.partition}]"
        log = self._logs.get((record.topic, record.partition))
        if log is None:
            self._logs[record.topic, record.partition] = Log(
                records=1, first_offset=record.offset, last_offset=record.offset,
                first_ms=record.timestamp_ms, last_ms=record.timestamp_ms,
            )  # fmt: skip
            return
        log.records += 1
        missing = record.offset - log.last_offset - 1
        if missing > 0:
            self._find("offset gap", place, record, missing)
        elif missing < 0:
            self._find("offset repeated", place, record, -missing)
        if record.timestamp_ms < log.last_ms:
            self._find("time runs back", place, record, log.last_ms - record.timestamp_ms)
        log.last_offset = max(log.last_offset, record.offset)
        log.last_ms = max(log.last_ms, record.timestamp_ms)

    def _fact(self, record: Record, fact: str) -> None:
        key = (record.topic, fact)
        if key in self._ids:
            self._find("id repeated", record.topic, record, 1)
            return
        if len(self._ids) >= REMEMBERED:
            self._ids.popitem(last=False)
        self._ids[key] = None

    def _price(self, record: Record, price: Price) -> None:
        name, feed = price.instrument, self._feeds.get(price.instrument)
        late = record.timestamp_ms - price.ts_ms
        if late > LATE_MS:
            self._find("late price", name, record, late)
        elif late < -FUTURE_MS:
            self._find("price from the future", name, record, -late)
        source = (price.source, price.source_epoch or 0)
        if feed is None:
            if len(self._feeds) >= PRICE_IDS:
                if len(self._unchecked) < PRICE_IDS:
                    self._unchecked.add(name)
                return
            feed = self._feeds[name] = Feed(
                arrived_ms=record.timestamp_ms, source=source, sequence=price.sequence, ts_ms=price.ts_ms
            )
        self._order(record, price, feed, source)
        self._silence(record, name, feed)
        if price.mark_price is not None:
            self._mark(record, name, feed, float(price.mark_price))

    def _order(self, record: Record, price: Price, feed: Feed, source: tuple[str | None, int]) -> None:
        """By sequence within one source and epoch, else by the source's time."""
        if source == feed.source and price.sequence is not None and feed.sequence is not None:
            if price.sequence < feed.sequence:
                self._find("out of order", price.instrument, record, feed.sequence - price.sequence)
        elif price.ts_ms < feed.ts_ms:
            self._find("out of order", price.instrument, record, feed.ts_ms - price.ts_ms)
        feed.source, feed.sequence, feed.ts_ms = source, price.sequence, max(price.ts_ms, feed.ts_ms)

    def _silence(self, record: Record, name: str, feed: Feed) -> None:
        silent = record.timestamp_ms - feed.arrived_ms
        if silent > (self._market.max_price_age_ms(name) or SILENT_MS):
            self._find("silence", name, record, silent)
        feed.arrived_ms = max(feed.arrived_ms, record.timestamp_ms)

    def _mark(self, record: Record, name: str, feed: Feed, mark: float) -> None:
        if feed.mark is None or mark != feed.mark:
            if feed.mark and abs(mark / feed.mark - 1) > (self._market.max_price_move(name) or JUMP):
                self._find("jump", name, record, abs(mark / feed.mark - 1))
            feed.mark, feed.mark_ms, feed.ticks = mark, record.timestamp_ms, 0
            return
        feed.ticks += 1
        if feed.ticks >= STUCK_TICKS and record.timestamp_ms - feed.mark_ms >= STUCK_MS:
            self._find("stuck mark", name, record, record.timestamp_ms - feed.mark_ms, once=feed.ticks > STUCK_TICKS)

    def _find(self, kind: str, where: str, record: Record, size: float, *, once: bool = False) -> None:
        """Notes a finding; `once` goes on with the one that was noted last, which has only become worse."""
        finding = self._findings.setdefault((kind, where), Finding())
        finding.count += 0 if once and finding.count else 1
        finding.total += size
        if size > finding.worst:
            finding.worst = size
            finding.at = (record.topic, record.partition, record.offset, record.timestamp_ms)

    def payload(self) -> dict[str, Any]:
        kinds: dict[str, list[tuple[str, Finding]]] = {}
        for (kind, where), finding in self._findings.items():
            kinds.setdefault(kind, []).append((where, finding))
        return {
            "findings": [_told(kind, found) for kind, found in sorted(kinds.items())],
            "unchecked": len(self._unchecked),
            "logs": [
                {
                    "topic": topic, "partition": partition, "records": log.records, "first_offset": log.first_offset,
                    "last_offset": log.last_offset, "first_ms": log.first_ms, "last_ms": log.last_ms,
                }
                for (topic, partition), log in sorted(self._logs.items())
            ],
        }  # fmt: skip


def _told(kind: str, found: list[tuple[str, Finding]]) -> dict[str, Any]:
    found.sort(key=lambda each: (-each[1].worst, each[0]))
    return {
        "kind": kind,
        "count": sum(finding.count for _, finding in found),
        "total": sum(finding.total for _, finding in found),
        "places": len(found),
        "worst": [
            {"where": where, "count": finding.count, "worst": finding.worst, "at": list(finding.at)}
            for where, finding in found[:SHOWN_EACH]
        ],
    }
