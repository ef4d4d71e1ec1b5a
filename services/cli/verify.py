"""`ringfence verify`: one liquidation order, recomputed by the reference from what it says it rests on."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, flush_json, stop, watched, write_json
from services.cli.recordings import KafkaConfig, RecordingPath, opened, recorded_settings
from services.cli.replay_options import Sets

if TYPE_CHECKING:
    from services.adapters.recordings import Recording
    from services.contracts.messages import Order
    from services.replay.verify import Checked


def verify(
    order: Annotated[
        str,
        typer.Argument(
            metavar="ORDER",
            help="A file with one order (its JSON, or its record), - for standard input, or an order id.",
        ),
    ],
    path: RecordingPath,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    config: KafkaConfig = None,
    sets: Sets = None,
) -> None:
    """Recompute a liquidation order with the reference engine, and say yes, or field by field what differs.

    The engine's settings are those of --config and --set, else those that the recording was made with; a worker's own, where the
    recording holds its journal.
    Exit code 1: it differs, or the recording lacks what the order rests on.

    Example: ringfence verify order.json recording.jsonl --config ringfence.toml
    """  # fmt: skip
    from services.adapters.presets import load_presets
    from services.cli.replay import settings_of
    from services.replay.overrides import OverrideError, Overrides
    from services.replay.verify import check

    with opened(path, config) as recording:
        try:
            base = recorded_settings(recording) if config is None else settings_of(config)
            settings = Overrides(sets or ()).settings(base)
        except OverrideError as error:
            stop(str(error), ExitCode.WRONG_USE)
        wanted = _order(order, recording)
        if recording.start() is not None:
            stop(
                f"{recording.name} begins with a snapshot, which the reference cannot take over; replay --diff can",
                ExitCode.WRONG_USE,
            )
        checked = check(wanted, watched(recording.records(), "records"), settings, load_presets())
    if as_json:
        write_json(checked.line())
        flush_json()
    else:
        typer.echo(text(checked))
    raise typer.Exit(ExitCode.DONE if checked.verified else ExitCode.NO)


def text(checked: "Checked") -> str:
    """The answer for a person."""
    order = checked.order
    name = f"order {order.order_id} ({order.account}|{order.bucket}, {order.side} {order.quantity} {order.instrument} at {order.limit_price})"
    if checked.verified:
        return f"yes: {name} follows from its evidence" + (f"; {checked.detail}" if checked.detail else "")
    if checked.missing:
        return f"cannot be said: {name}: {checked.detail}: {', '.join(checked.missing)}"
    lines = [f"no: {name}" + (f": {checked.detail}" if checked.detail else "")]
    lines += [f"  {each.field:<28} {each.recorded}, computed {each.computed}" for each in checked.differences]
    return "\n".join(lines)


def _order(given: str, recording: "Recording") -> "Order":
    """The order of a file or standard input, else the one of that id in the recording."""
    from services.replay.verify import NotAnOrder, find_order, read_order

    is_file = given == "-" or Path(given).is_file()
    try:
        if is_file:
            return read_order(sys.stdin.buffer.read() if given == "-" else Path(given).read_bytes())
    except (NotAnOrder, OSError) as error:
        stop(f"{given}: {error}", ExitCode.WRONG_USE)
    found = find_order(recording.records(), given)
    if found is None:
        stop(f"{given}: neither a file nor the id of an order in {recording.name}", ExitCode.WRONG_USE)
    return found
