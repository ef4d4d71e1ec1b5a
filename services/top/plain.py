"""The whole screen once, for scripts, pipes and terminals that are read later."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.top.view import Screen, trouble_text


def show(screen: Screen, console: Console) -> None:
    """Everything, one table after the other; troubles before."""
    console.print(screen.summary)
    for trouble in screen.troubles:
        console.print(Text("! ").append_text(trouble_text(trouble)), soft_wrap=True)
    for panel in screen.panels:
        console.print()
        if not panel.rows:
            console.print(Text(f"{panel.title}: {panel.note}"))
            continue
        table = Table(
            title=panel.title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
        )
        for column in panel.columns:
            table.add_column(column, no_wrap=True, overflow="ellipsis")  # what is cut says so
        for row in panel.rows:
            table.add_row(*row)
        console.print(table)
