"""The demo as a person sees it: a live table on a terminal, plain lines elsewhere."""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.contracts.decimals import ONE, to_text
from services.demo.figures import Figures, Summary, percentile
from services.demo.venue import Venue

BARS: Final = "▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 40
STATUSES: Final = (
    "healthy",
    "warning",
    "margin_call",
    "reduce_only",
    "liquidating",
    "closed",
    "bankrupt",
    "incomplete",
    "dirty",
)
STYLES: Final = {
    "healthy": "green", "warning": "yellow", "margin_call": "dark_orange", "reduce_only": "orange_red1",
    "liquidating": "red", "bankrupt": "bold white on red", "incomplete": "magenta", "dirty": "magenta",
}  # fmt: skip
DEEP: Final = -0.05  # a fall that is shown in red
PLAIN_EVERY: Final = 8  # refreshes between two plain lines


class LiveScreen:
    """Redraws in place. The caller sets the pace, so that drawing never takes the venue's time by itself."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, venue: Venue) -> None:
        self._live.update(render(venue), refresh=True)


class PlainScreen:
    """A line when the phase changes, and one every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = ""
        self._shown = 0

    def show(self, venue: Venue) -> None:
        figures = venue.figures
        self._shown += 1
        if figures.phase == self._phase and self._shown % PLAIN_EVERY:
            return
        self._phase = figures.phase
        falls = " ".join(f"{name.removesuffix('-PERP')} {track.change:+.0%}" for name, track in figures.tracks.items())
        self._console.print(
            f"{figures.phase:<24} {_clock(figures)} {falls} | orders {len(figures.order_ids)} fills {figures.fills} "
            f"negative {len(venue.books.negatives)}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def render(venue: Venue) -> RenderableType:
    """Everything on one screen."""
    figures = venue.figures
    title = Text(f"{figures.phase}  ", style="bold").append(
        f"{_clock(figures)}   the book holds {figures.book:.0%}", style="dim"
    )
    return Group(title, _prices(figures), _buckets(figures), _orders(venue))


def summary_table(summary: Summary) -> Table:
    """The end of the story, for a person."""
    table = Table(title="What happened", show_header=False, box=None, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column(justify="right")
    held = (
        "none"
        if not summary.negative_buckets
        else f"{summary.negative_buckets} ({summary.negative_by_gap} by a gap in the price)"
    )
    deficit = ", ".join(f"{amount} {asset}" for asset, amount in summary.deficit.items()) or "none"
    for name, value in (
        ("accounts, buckets", f"{summary.accounts:,}, {summary.buckets:,}"),
        ("prices", f"{summary.prices:,}"),
        ("liquidation orders", f"{summary.orders:,}"),
        ("liquidated buckets", f"{summary.liquidated_buckets:,}"),
        ("fills", f"{summary.fills:,}"),
        ("lowest equity of a bucket", f"{summary.lowest_equity} ({summary.lowest_equity_bucket})"),
        ("buckets below zero", held),
        ("price to order, p50 / p99", f"{summary.latency_p50_ms} / {summary.latency_p99_ms} ms of {summary.latency_samples:,} first orders"),
        ("deficit", deficit),
        ("refused records", f"{summary.dead_letters}"),
        ("took", f"{summary.seconds} s, seed {summary.seed}"),
    ):  # fmt: skip
        table.add_row(name, value)
    return table


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """At most `width` bars between the lowest and the highest of `values`."""
    if not values:
        return ""
    step = max(1, len(values) // width)
    shown = list(values)[::step][-width:]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in shown)


def _prices(figures: Figures) -> Table:
    table = Table("instrument", box=None, header_style="dim")
    for name in ("price", "from start", "low"):
        table.add_column(name, justify="right")
    table.add_column("")
    for name, track in figures.tracks.items():
        style = "red" if track.change < DEEP else ""
        table.add_row(
            name, f"{track.last:,.6g}", Text(f"{track.change:+.1%}", style=style), f"{track.drawdown:+.1%}",
            Text(sparkline(track.points), style=style),
        )  # fmt: skip
    return table


def _buckets(figures: Figures) -> Text:
    counts = Counter(figures.statuses.values())
    text = Text("buckets  ", style="dim")
    for status in STATUSES:
        if counts[status]:
            text.append(f"{status} {counts[status]:,}  ", style=STYLES.get(status, ""))
    return text


def _orders(venue: Venue) -> Table:
    figures, lowest = venue.figures, venue.books.lowest
    table = Table.grid(padding=(0, 2))
    stages = ", ".join(f"{stage} {count:,}" for stage, count in figures.stages.most_common()) or "none"
    answers = ", ".join(f"{status} {count:,}" for status, count in figures.answers.most_common()) or "none"
    table.add_row(Text("orders", style="dim"), f"{len(figures.order_ids):,} ({stages}); answered: {answers}")
    table.add_row(Text("lowest equity", style="dim"), "" if lowest is None else _short(lowest[0]))
    negative = len(venue.books.negatives)
    table.add_row(Text("below zero", style="dim"), Text(str(negative), style="bold red" if negative else "green"))
    p50, p99 = percentile(figures.latencies, 0.5), percentile(figures.latencies, 0.99)
    if p50 is not None and p99 is not None:
        table.add_row(Text("price to order", style="dim"), f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
    return table


def _short(amount: int) -> str:
    return to_text(amount - amount % (ONE // 10_000))


def _clock(figures: Figures) -> str:
    """The simulated time of day; the crash of that evening began about 20:30 UTC."""
    minutes = 20 * 60 + 33 + int(figures.second // 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
