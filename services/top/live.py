"""The live screen of `ringfence top`: the same panels, redrawn once a second, scrolled and enlarged by keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.widgets import DataTable, Footer, Static

from services.top.view import Panel, screen_of, trouble_text
from services.top.workers import Workers

TROUBLES_SHOWN: Final = 6
PANELS: Final = ("workers", "shards", "buckets", "prices", "orders")


class Top(App[None]):
    """Asks all workers each `interval_s`; while they take longer than that it asks less often, never twice at once."""

    TITLE = "ringfence top"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  # declared by `App` as of the instance
        (0, "-narrow"),
        (150, "-wide"),
    ]
    CSS = """
    Screen { layout: vertical; }
    #summary { height: auto; padding: 0 1; background: $panel; }
    #troubles { height: auto; max-height: 7; padding: 0 1; }
    #grid { grid-size: 1; grid-gutter: 0 1; height: auto; grid-rows: auto; }
    .-wide #grid { grid-size: 2; }
    .panel { height: auto; max-height: 16; border: round $primary 40%; border-title-color: $text; }
    .panel:focus { border: round $accent; }
    .-wide #orders { column-span: 2; }
    /* No horizontal bar: an automatic height does not count it, so that it would cover the last row. */
    DataTable { background: $background; scrollbar-size: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("space", "pause", "Pause"),
        Binding("r", "refresh_now", "Refresh"),
        Binding("enter", "enlarge", "Enlarge", priority=True),
        *(Binding(str(number), f"go('{name}')", name.capitalize()) for number, name in enumerate(PANELS, 1)),
    ]

    def __init__(self, workers: Workers, interval_s: float, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._watched = workers
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._asking = False
        self._paused = False

    def compose(self) -> ComposeResult:
        """The fixed parts; what is in them comes with each refresh."""
        yield Static(id="summary")
        yield Static(id="troubles")
        with VerticalScroll(can_focus=False), Grid(id="grid"):
            for name in PANELS:
                table: DataTable[Text] = DataTable(
                    id=name, cursor_type="row", cursor_foreground_priority="renderable", zebra_stripes=True, classes="panel"
                )  # fmt: skip
                yield table
        yield Footer()

    async def on_mount(self) -> None:
        """Draw at once what is known (nothing), and ask."""
        self._show()
        self.set_interval(self._interval_s, self._tick)
        self._tick()

    def _tick(self) -> None:
        if not self._paused:
            self.action_refresh_now()

    def action_refresh_now(self) -> None:
        """Ask now, unless an answer is still awaited."""
        if not self._asking:
            self._asking = True
            self.run_worker(self._ask())

    async def _ask(self) -> None:
        try:
            await self._watched.refresh()
        finally:
            self._asking = False
        self._show()

    def action_pause(self) -> None:
        """Keep what is shown, or go on."""
        self._paused = not self._paused
        self._show()

    def action_go(self, panel: str) -> None:
        """Put the cursor into a panel."""
        if self.screen.maximized is not None:
            self.screen.minimize()
        self.query_one(f"#{panel}").focus()

    def action_enlarge(self) -> None:
        """The focused panel on the whole screen, and back."""
        if self.screen.maximized is not None:
            self.screen.minimize()
        elif self.focused is not None:
            self.screen.maximize(self.focused)

    def _show(self) -> None:
        drawn = screen_of(self._watched.seen, self._monotonic())
        pause = Text("  paused", "bold yellow") if self._paused else Text()
        self.query_one("#summary", Static).update(Text.assemble(drawn.summary, pause))
        lines = [trouble_text(trouble) for trouble in drawn.troubles[:TROUBLES_SHOWN]]
        if len(drawn.troubles) > TROUBLES_SHOWN:
            lines.append(Text(f"and {len(drawn.troubles) - TROUBLES_SHOWN} more", "dim"))
        shown = self.query_one("#troubles", Static)
        shown.display = bool(lines)
        shown.update(Text("\n").join(lines))
        for panel in drawn.panels:
            self._fill(panel)

    def _fill(self, panel: Panel) -> None:
        """Replace the rows and keep the cursor and the place where they were."""
        table: DataTable[Text] = self.query_one(f"#{panel.name}", DataTable)
        row, place = table.cursor_row, table.scroll_offset
        table.border_title = panel.title if panel.rows else f"{panel.title}: {panel.note}"
        table.clear(columns=True)
        if not panel.rows:
            return
        table.add_columns(*panel.columns)
        table.add_rows(panel.rows)
        table.move_cursor(row=min(row, len(panel.rows) - 1), animate=False, scroll=False)
        table.scroll_to(place.x, place.y, animate=False)
