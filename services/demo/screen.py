"""The demo as a person sees it: a live table on a terminal, plain lines elsewhere."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.contracts.decimals import ONE, parse, to_text
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
BAR_WIDTH: Final = 30
SHOWN: Final = 12  # instruments
WHAT: Final = "a simulated venue and its clients; a real worker closes what would fall below zero"


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
        self._live.update(render(venue, self._live.console.width), refresh=True)


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
            f"{figures.phase:<30} {_clock(figures)} {falls} | orders {len(figures.order_ids)} fills {figures.fills} "
            f"negative {len(venue.books.negatives)}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def render(venue: Venue, width: int = 80) -> RenderableType:
    """Everything on one screen."""
    figures = venue.figures
    return Group(
        Text("Ringfence demo", style="bold").append(f"  {WHAT}", style="dim not bold"),
        _progress(figures, width),
        Text(),
        _prices(figures),
        Text(),
        _buckets(figures),
        _orders(venue),
    )


def summary_table(summary: Summary) -> RenderableType:
    """The end of the story, for a person: the figures, and one sentence."""
    table = Table(title="What happened", show_header=False, box=None, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column()
    negative = f"{summary.negative_buckets}"
    if summary.negative_by_gap:
        negative += f" ({summary.negative_by_gap} by a gap in the price)"
    deficit = ", ".join(f"{amount} {asset}" for asset, amount in summary.deficit.items()) or "none"
    p50, p99 = summary.latency_p50_ms, summary.latency_p99_ms
    latency = "" if p50 is None else f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, of {summary.latency_samples:,} first orders"
    for name, value in (
        ("accounts, buckets", f"{summary.accounts:,}, {summary.buckets:,}"),
        ("prices", f"{summary.prices:,}"),
        ("liquidation orders", f"{summary.orders:,}"),
        ("liquidated buckets", f"{summary.liquidated_buckets:,}"),
        ("fills of these orders", f"{summary.fills:,}"),
        ("lowest equity of a bucket", _lowest(summary)),
        ("buckets below zero", negative),
        ("from price to order", latency),
        ("deficits reported", deficit),
        ("refused records", f"{summary.dead_letters}"),
        ("took", f"{summary.seconds} s, {summary.played}"),
    ):
        table.add_row(name, value)
    return Group(table, Text(), Text(verdict(summary), style="bold green" if summary.is_held else "bold red"))


def verdict(summary: Summary) -> str:
    """One sentence: whether the worker did what it is for."""
    late = summary.negative_buckets - summary.negative_by_gap
    if late:
        return f"NOT HELD: {_plural(late, 'bucket')} went below zero that could have been closed in time."
    gaps = ""
    if summary.negative_by_gap:
        gaps = f" but for {_plural(summary.negative_by_gap, 'bucket')} that one price took from safe to below zero,"
    if not summary.orders:
        return f"HELD: no bucket came near its maintenance margin,{gaps} no order was needed."
    return (
        f"HELD: {_plural(summary.liquidated_buckets, 'bucket')} closed or reduced in time,{gaps} none went below zero."
    )


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _lowest(summary: Summary) -> str:
    if summary.lowest_equity is None:
        return "no bucket held a position"
    return f"{_short(parse(summary.lowest_equity))} in {summary.lowest_equity_bucket}"


def _progress(figures: Figures, width: int) -> Text:
    """The phase with its bar, the simulated time, and how thin the book is."""
    text = Text(f"{figures.phase}", style="bold cyan")
    if figures.progress is not None:
        bar = max(10, min(BAR_WIDTH, width - 60))
        done = round(figures.progress * bar)
        text.append("  " + "━" * done, style="cyan").append("─" * (bar - done), style="dim")
        text.append(f" {figures.progress:4.0%}", style="cyan")
    text.append(f"   {_clock(figures)}", style="default not bold")
    if figures.book is not None:
        text.append(f"   order book {figures.book:.0%}", style="dim not bold")
    return text


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
    for name, track in islice(figures.tracks.items(), SHOWN):
        style = "red" if track.change < DEEP else ""
        table.add_row(
            name, f"{track.last:,.6g}", Text(f"{track.change:+.1%}", style=style), f"{track.drawdown:+.1%}",
            Text(sparkline(track.points), style=style),
        )  # fmt: skip
    if len(figures.tracks) > SHOWN:
        table.add_row(Text(f"and {len(figures.tracks) - SHOWN} more", style="dim"))
    return table


def _buckets(figures: Figures) -> Text:
    counts = Counter(figures.statuses.values())
    text = Text("buckets         ", style="dim")
    for status in STATUSES:
        if counts[status]:
            text.append(f"{status.replace('_', ' ')} {counts[status]:,}  ", style=STYLES.get(status, "default"))
    return text


def _orders(venue: Venue) -> Table:
    figures, lowest = venue.figures, venue.books.lowest
    table = Table.grid(padding=(0, 2))
    stages = _counts(figures.stages) or "none yet"
    table.add_row(Text("orders", style="dim"), f"{len(figures.order_ids):,}  {stages}")
    table.add_row(Text("answers", style="dim"), _counts(figures.answers) or "none yet")
    table.add_row(
        Text("lowest equity", style="dim"), "" if lowest is None else f"{_short(lowest[0])} in {'|'.join(lowest[1])}"
    )
    negative = len(venue.books.negatives)
    table.add_row(Text("below zero", style="dim"), Text(str(negative), style="bold red" if negative else "bold green"))
    p50, p99 = percentile(figures.latencies, 0.5), percentile(figures.latencies, 0.99)
    latency = "" if p50 is None or p99 is None else f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
    table.add_row(Text("price to order", style="dim"), latency)
    return table


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _short(amount: int) -> str:
    """An amount for the eye: four places, toward minus infinity."""
    return to_text(amount - amount % (ONE // 10_000))


def _clock(figures: Figures) -> str:
    """The simulated time of day."""
    if figures.second is None:
        return ""
    minutes = int(figures.second // 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d} UTC"
