"""`ringfence margin`: the margin state of every bucket that a recording leaves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.cli.output import ExitCode, console, flush_json, note, stop, watched, write_json
from services.cli.recordings import KafkaConfig, RecordingPath, opened

if TYPE_CHECKING:
    from services.contracts.views import BucketView
    from services.engine.effects import DeadLetter


def margin(  # noqa: PLR0917  # typer reads options, not positions
    path: RecordingPath,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a bucket, nothing else on standard output.")
    ] = False,
    engine: Annotated[
        Literal["fast", "reference"], typer.Option(help="Which of the two implementations computes it.")
    ] = "fast",
    preset: Annotated[Path | None, typer.Option(help="A portfolio preset in place of the accounts' own.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a record was refused.")] = False,
    config: KafkaConfig = None,
) -> None:
    """Fold the events of a recording and print the margin state of every bucket.

    Example: ringfence margin recording.jsonl.gz --json
    """
    from services.adapters.presets import load_presets
    from services.engine.portfolio.preset import PresetError
    from services.engine.settings import Settings
    from services.replay.choices import EngineName
    from services.replay.engines import load_preset, make_engine
    from services.replay.fold import fold, sorted_views

    refused = 0
    try:
        presets = load_presets() if preset is None else load_preset(str(preset))
        machine = make_engine(
            EngineName(engine), Settings(grade_prices=False), presets, gates_open=False, observe=False
        )
        with opened(path, config) as recording:
            for letter in fold(machine, watched(recording.records(), "records"), recording.start()):
                note(refusal_text(letter))
                refused += 1
    except PresetError as error:
        stop(str(error), ExitCode.WRONG_USE)
    except OSError as error:
        stop(f"{error.filename}: {error.strerror}", ExitCode.WRONG_USE)
    show(sorted_views(machine), as_json=as_json)
    if refused:
        note(f"{refused} {'record' if refused == 1 else 'records'} refused")
    raise typer.Exit(ExitCode.NO if refused and strict else ExitCode.DONE)


def refusal_text(letter: "DeadLetter") -> str:
    """One line: where the refused record stands and why it was refused."""
    record, refusal = letter.record, letter.refusal
    return f"refused {record.topic}[{record.partition}]@{record.offset}: {refusal.reason.value}: {refusal.detail}"


def show(views: "list[BucketView]", *, as_json: bool) -> None:
    """The buckets as JSON Lines or as a table."""
    from services.replay.lines import bucket_line

    if as_json:
        for view in views:
            write_json(bucket_line(view))
        flush_json()
        return
    console().print(table([bucket_line(view) for view in views]))


def table(lines: list[dict[str, Any]]) -> Any:
    """A rich table, one row a bucket."""
    from rich.table import Table

    shown = Table("account", "bucket", "mode", "status", box=None, header_style="bold", pad_edge=False)
    for name in ("equity", "initial margin", "maintenance margin", "excess"):
        shown.add_column(name, justify="right", overflow="fold")  # a digit is never left out
    shown.add_column("positions (quantity at mark, liquidation price)")
    for line in lines:
        amounts = (line[key] for key in ("equity", "initial_margin", "maintenance_margin", "maintenance_excess"))
        shown.add_row(
            line["account"],
            line["bucket"],
            line["margin_mode"],
            f"[red]{line['status']}[/red]" if line["liquidatable"] else line["status"],
            *(_amount(amount, line["valuation_asset"]) for amount in amounts),
            "\n".join(_position(position) for position in line["positions"]),
        )
    return shown


def _amount(amount: str | None, asset: str) -> str:
    return "?" if amount is None else f"{amount} {asset}"


def _position(position: dict[str, Any]) -> str:
    at = position["mark_price"] or "?"
    return f"{position['instrument']} {position['quantity']} at {at}, {position['liquidation_price'] or 'none'}"
