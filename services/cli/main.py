"""`ringfence`: the commands, put together. Each command module imports what is heavy inside its commands."""

import typer

from services.cli import config, control, schemas, topics
from services.cli.account import account
from services.cli.demo import demo
from services.cli.doctor import doctor
from services.cli.liquidator import liquidator
from services.cli.margin import margin
from services.cli.record import record
from services.cli.replay import replay
from services.cli.risk import risk
from services.cli.top import top
from services.cli.venue import venue
from services.cli.verify import verify

app = typer.Typer(
    name="ringfence",
    help="Streaming liquidation monitor: ring-fenced margin buckets, closed out before their equity goes below zero.\n\n"
    "Example: ringfence replay recording.jsonl --json",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
for command in (demo, liquidator, risk, margin, replay, verify, record, account, doctor, top, venue):
    app.command()(command)
app.add_typer(topics.app, name="topics")
app.add_typer(control.app, name="control")
app.add_typer(config.app, name="config")
app.add_typer(schemas.app, name="schemas")


@app.command()
def version() -> None:
    """Print the version. Example: ringfence version"""
    from importlib.metadata import version as version_of

    typer.echo(version_of("ringfence"))
