"""What the demo shows and sums up: measured by the venue, from its own ledger and its own clock."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from services.contracts.decimals import ONE, parse, to_text
from services.contracts.messages import AccountState, Default, Order
from services.demo.books import Books, Negative

POINT_EVERY: Final = 10  # marks of an instrument between two points of its sparkline


class Track(Struct, kw_only=True):
    """One instrument's way through the crash."""

    first: float
    last: float
    low: float
    marks: int = 0
    points: list[float] = field(default_factory=list)

    @property
    def change(self) -> float:
        """Of the last mark, against the first."""
        return self.last / self.first - 1

    @property
    def drawdown(self) -> float:
        """Of the lowest mark, against the first."""
        return self.low / self.first - 1


class Figures(Struct, kw_only=True):
    """Counted while the venue runs. Latencies are in seconds, in order of arrival."""

    phase: str = "starting"
    progress: float | None = None  # of the phase, 0 to 1, where that is known
    second: float | None = None  # simulated, of the day
    book: float | None = None  # share of a calm book that is left, where the story has one
    tracks: dict[str, Track] = field(default_factory=dict)
    statuses: dict[tuple[str, str], str] = field(default_factory=dict)  # as the monitor reports them
    order_ids: set[str] = field(default_factory=set)
    ordered: set[tuple[str, str]] = field(default_factory=set)
    stages: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    fills: int = 0
    latencies: list[float] = field(default_factory=list)
    deficits: dict[str, tuple[str, str]] = field(default_factory=dict)  # default id -> asset, amount
    dead_letters: int = 0

    def saw_order(self, order: Order) -> bool:
        """Counts an order; whether its id is new."""
        if order.order_id in self.order_ids:
            return False
        self.order_ids.add(order.order_id)
        self.ordered.add((order.account, order.bucket))
        self.stages[order.stage] += 1
        return True

    def saw_state(self, state: AccountState) -> None:
        self.statuses[state.account, state.bucket] = state.status

    def saw_default(self, default: Default) -> None:
        self.deficits[default.default_id] = (default.asset, default.deficit)

    def saw_price(self, instrument: str, price: int) -> None:
        """A published mark, e18."""
        self.ticks += 1
        mark = price / ONE
        track = self.tracks.setdefault(instrument, Track(first=mark, last=mark, low=mark))
        track.last, track.low = mark, min(track.low, mark)
        if track.marks % POINT_EVERY == 0:
            track.points.append(mark)
        track.marks += 1


class Summary(Struct, frozen=True, kw_only=True):
    """What the run amounts to. Amounts are decimal strings, durations say their unit.

    The negative buckets and the lowest equity come from the venue's ledger over the prices it published, not from the monitor.
    """

    accounts: int
    buckets: int
    prices: int
    orders: int
    liquidated_buckets: int
    fills: int
    lowest_equity: str | None
    lowest_equity_bucket: str | None
    negative_buckets: int
    negative_by_gap: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_samples: int
    deficit: dict[str, str]
    dead_letters: int
    seconds: float
    played: str

    @property
    def is_held(self) -> bool:
        """Whether no bucket went negative that a monitor could have closed in time."""
        return self.negative_buckets == self.negative_by_gap

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__}


def summarise(figures: Figures, books: Books, *, played: str, seconds: float) -> Summary:
    lowest = books.lowest
    return Summary(
        accounts=books.accounts,
        buckets=len(books.buckets),
        prices=figures.ticks,
        orders=len(figures.order_ids),
        liquidated_buckets=len(figures.ordered),
        fills=figures.fills,
        lowest_equity=None if lowest is None else to_text(lowest[0]),
        lowest_equity_bucket=None if lowest is None else "|".join(lowest[1]),
        negative_buckets=len(books.negatives),
        negative_by_gap=sum(negative.cause == "gap" for negative in books.negatives.values()),
        latency_p50_ms=_milliseconds(percentile(figures.latencies, 0.50)),
        latency_p99_ms=_milliseconds(percentile(figures.latencies, 0.99)),
        latency_samples=len(figures.latencies),
        deficit=_totals(figures.deficits),
        dead_letters=figures.dead_letters,
        seconds=round(seconds, 1),
        played=played,
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-round(len(ordered) * share * 1000) // 1000) - 1)]


def explain(negative: Negative) -> str:
    """One line about a bucket that went below zero."""
    causes = {
        "gap": "one tick jumped from above its maintenance margin to below zero",
        "late": "it could have been closed in time, and was not",
        "fill": "an execution cost more than its equity",
    }
    return (
        f"{negative.account}|{negative.bucket}: equity {to_text(negative.equity)} after {negative.instrument} went from "
        f"{to_text(negative.mark_before)} to {to_text(negative.mark)}: {causes[negative.cause]} "
        f"(before: equity {to_text(negative.equity_before)}, maintenance margin {to_text(negative.maintenance_before)})"
    )


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value * 1000, 2)


def _totals(deficits: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    totals: Counter[str] = Counter()
    for asset, amount in deficits.values():
        totals[asset] += parse(amount)
    return {asset: to_text(totals[asset]) for asset in sorted(totals)}
