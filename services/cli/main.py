"""`ringfence`: the commands, put together. Each command module imports what is heavy inside its commands."""

from importlib import import_module
from importlib.util import find_spec

import typer

from services.cli.margin import margin
from services.cli.output import ExitCode
from services.cli.replay import replay

app = typer.Typer(
    name="ringfence",
    help="Streaming liquidation monitor: ring-fenced margin buckets, closed out before their equity goes below zero.\n\n"
    "Example: ringfence replay recording.jsonl --json",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,
)
app.command()(margin)
app.command()(replay)


@app.command()
def version() -> None:
    """Print the version. Example: ringfence version"""
    from importlib.metadata import version as version_of

    typer.echo(version_of("ringfence"))
    raise typer.Exit(ExitCode.DONE)


def _mount(name: str) -> None:
    """Adds the command module `name` where it exists: a group when it has an `app`, else the function of its name."""
    if find_spec(f"services.cli.{name}") is None:
        return
    module = import_module(f"services.cli.{name}")
    if isinstance(group := getattr(module, "app", None), typer.Typer):
        app.add_typer(group, name=name)
    else:
        app.command(name)(getattr(module, name))


for _name in ("liquidator", "demo", "topics", "account", "config", "doctor", "schemas"):
    _mount(_name)
