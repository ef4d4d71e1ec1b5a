"""`ringfence config`: what is in force, and where each value comes from."""

from typing import Annotated

import typer

from services.cli.output import ExitCode, console, flush_json, stop, write_json
from services.cli.topics import AsJson, ConfigFile

app = typer.Typer(
    help="Show the configuration in force, and what is measured.\n\nExample: ringfence config show --config ringfence.toml",
    no_args_is_help=True,
)

Flags = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As if this were given as a flag.")
]


@app.callback()
def config() -> None:
    """Show the configuration in force. Example: ringfence config show --config ringfence.toml"""


@app.command()
def show(config: ConfigFile = None, sets: Flags = None, as_json: AsJson = False) -> None:
    """Print every setting with its value and its origin: default, file, environment or flag. Secrets are never read, only named.

    Example: ringfence config show --config ringfence.toml
    """  # fmt: skip
    from services.liquidator.config import Misconfigured
    from services.liquidator.config import show as values_in_force

    flags = dict(_assignment(text) for text in sets or ())
    try:
        rows = values_in_force(config, flags)
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    if as_json:
        for name, value, origin in rows:
            write_json({"setting": name, "value": value, "origin": origin})
        flush_json()
        return
    from rich.table import Table

    table = Table("setting", "value", "origin", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console().print(table, markup=False)


@app.command()
def metrics() -> None:
    """Print the catalogue of metrics as Markdown: name, type, labels, unit, what it is and what harm it shows.

    Example: ringfence config metrics > deploy/metrics.md
    """
    from services.adapters.metric_catalogue import page

    typer.echo(page(), nl=False)


@app.command()
def logs() -> None:
    """Print the catalogue of logged events as Markdown.

    Example: ringfence config logs > deploy/logs.md
    """
    from services.adapters.log_events import page

    typer.echo(page(), nl=False)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        stop(f"--set {text}: expected SECTION.KEY=VALUE", ExitCode.WRONG_USE)
    return name, value
