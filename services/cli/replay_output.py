"""What `ringfence replay` shows: effects, summaries side by side, differences, stories, states; as lines of JSON or for a person."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

import typer

from services.cli.output import console, flush_json, note, write_json

if TYPE_CHECKING:
    from services.engine.effects import Effect
    from services.replay.diff import Finding
    from services.replay.lockstep import Differs
    from services.replay.session import Run
    from services.replay.summary import Summary

SHOWN_FIELDS: Final = 4  # of what differs in an order, in the table for a person


def shown(effect: "Effect", *, variant: dict[str, str] | None, as_json: bool) -> bytes:
    """One effect as a line; one of a what-if run says last what was changed."""
    from services.replay.lines import effect_line, encode_line

    line = effect_line(effect)
    if as_json:
        return encode_line(line if variant is None else {**line, "variant": variant})
    return effect_text(line).encode() + b"\n"


def spool_to(stream: IO[bytes], variant: dict[str, str] | None, *, as_json: bool) -> "Callable[[Effect], None]":
    """Writes effects to `stream` as they come."""
    return lambda effect: _write(stream, shown(effect, variant=variant, as_json=as_json))


def _write(stream: IO[bytes], line: bytes) -> None:
    stream.write(line)


def variant_text(variant: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in variant.items())


def effect_text(line: dict[str, Any]) -> str:
    """The line of an effect for a person."""
    cause = "{}[{}]@{}".format(*line["cause"])
    place = "|".join(part for part in (line.get("account"), line.get("bucket")) if part)
    match line["effect"]:
        case "liquidation-order":
            what = (
                f"{line['side']} {line['quantity']} {line['instrument']} at {line['limit_price']} ({line['stage']}, attempt "
                f"{line['attempt']}, mark {line['mark_price']}, equity {line['equity']}, maintenance {line['maintenance_margin']})"
            )
        case "account-state":
            what = f"{line['previous_status']} -> {line['status']}, equity {line['equity']}, maintenance {line['maintenance_margin']}"
        case "dead-letter":
            what = f"{line['reason']}: {line['detail']}"
        case "default":
            what = f"{line['deficit']} {line['asset']} missing"
        case _:
            what = " ".join(part for part in (line["name"], line["instrument"], line["detail"]) if part)
    return f"{line['effect']:<18} {place:<24} {what}  <- {cause}"


def show_summaries(summaries: "list[Summary]", variants: list[dict[str, str] | None], *, as_json: bool) -> None:
    """One summary line a run, or one table with a column a run."""
    lines = [summary.line(variant) for summary, variant in zip(summaries, variants, strict=True)]
    if as_json:
        for line in lines:
            write_json(line)
        flush_json()
        return
    from rich.table import Table

    shown = Table("summary", box=None, header_style="bold", pad_edge=False)
    for line in lines:
        changed = line.get("variant")
        shown.add_column(
            "as recorded" if changed is None else "\n".join(f"{k}={v}" for k, v in changed.items()),
            justify="right", overflow="fold",
        )  # fmt: skip
    for key in lines[0]:
        if key != "effect":
            shown.add_row(key, *(_cell(line[key]) for line in lines))
    console().print(shown)


def show_difference(difference: "Differs", *, as_json: bool) -> None:
    """The input at which two engines disagree, and what each said."""
    if as_json:
        write_json(difference.line())
        flush_json()
        return
    print_line(f"fast and reference differ at {difference.cause}")
    for name, lines in (("fast", difference.fast), ("reference", difference.reference)):
        for line in lines or [{"nothing": None}]:
            print_line(f"  {name:<10} {line}")
    note("ringfence: the engines differ")


def show_comparison(runs: "Iterable[Run]", *, as_json: bool) -> None:
    """Variants beside the recording as it is: orders, what they amount to, who went below zero, when it began to differ."""
    compared = [run.compared() for run in runs]
    if as_json:
        write_json({"effect": "what-if", "runs": compared})
        return
    from rich.table import Table

    table = Table("what if", box=None, header_style="bold", pad_edge=False)
    for name in ("orders", "notional", "negative buckets", "deficit", "first difference"):
        table.add_column(name, justify="right", overflow="fold")
    for each in compared:
        first = each["first_difference"]
        when = "none" if first is None else f"{clock(first['ts_ms'])} {first['account'] or ''}"
        table.add_row(
            _named(each["variant"]), str(each["orders"]), _cell(each["notional"]), str(each["negative_buckets"]), _cell(each["deficit"]),
            when if each["variant"] else "",
        )  # fmt: skip
    console().print(table)


def _named(variant: Mapping[str, str]) -> str:
    return (variant.get("name") or variant_text(variant)) if variant else "as recorded"


def show_story_line(line: Mapping[str, Any], *, as_json: bool) -> None:
    """One event of an account."""
    if as_json:
        write_json(dict(line))
    else:
        bucket = f"[{line['bucket']}] " if line["bucket"] else ""
        print_line(f"{clock(line['ts_ms'], day=True)}  {bucket}{line['text']}")


def show_state(state: Mapping[str, Any], *, as_json: bool) -> None:
    """What stood when an order was decided."""
    if as_json:
        write_json(dict(state))
        return
    order, bucket = state["order"], state["bucket"]
    print_line(f"order {order['order_id']} as {state['from']} has it, {clock(order['ts_ms'], day=True)}")
    for name in ("side", "quantity", "instrument", "limit_price", "stage", "trigger", "equity", "maintenance_margin"):
        print_line(f"  {name:<20} {order[name]}")
    if bucket is not None:
        print_line(f"bucket {bucket['account']}|{bucket['bucket']}, {bucket['margin_mode']}, {bucket['status']}")
        for name in ("equity", "initial_margin", "maintenance_margin", "balances", "locked"):
            print_line(f"  {name:<20} {bucket[name]}")
        for held in bucket["positions"]:
            print_line(
                f"  {held['instrument']:<20} {held['quantity']} at {held['mark_price']}, liquidation {held['liquidation_price']}"
            )
    for title, name, key in (
        ("prices", "prices", "instrument"), ("instruments", "instruments", "instrument"), ("collateral", "collateral", "asset"),
        ("risk parameters", "risk_parameters", "instrument"), ("controls", "controls", "target"),
    ):  # fmt: skip
        print_line(title + ("" if state[name] else ": none"))
        for each in state[name]:
            fields = {k: v for k, v in each.items() if v is not None and k != key}
            print_line(f"  {each[key]:<20} " + ", ".join(f"{k} {v}" for k, v in fields.items()))
    epochs = ", ".join(f"shard {shard}: {offset}" for shard, offset in state["epochs"].items())
    print_line(f"claims  {epochs or 'none in the recording'}")


def show_diff(findings: "list[Finding]", *, as_json: bool) -> None:
    """Every order as a line; for a person those that differ, what is not explained first."""
    from services.replay.diff import bad_first, summary_line

    counts = summary_line(findings)
    if as_json:
        for finding in findings:
            write_json(finding.line())
        write_json(counts)
        return
    for finding in bad_first(findings):
        line = finding.line()
        found = ", ".join(word.replace("_", " ") for word in (line["proof"], line["replay"]) if word)
        name = f"{line['account']}|{line['bucket']} {line['instrument']} #{line['attempt']}"
        print_line(f"{'' if finding.is_good else '! '}{clock(line['ts_ms'])} {name}: {found}. {_why(line)}")
    told = ("recorded", "proved", "sent_again", "differs", "not_decided", "evidence_missing", "same", "changed", "recorded_only", "replay_only", "unexplained")  # fmt: skip
    print_line(", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in told))
    causes = ", ".join(f"{name} {count}" for name, count in counts["causes"].items())
    print_line(f"causes: {causes or 'none needed'}")


def _why(line: Mapping[str, Any]) -> str:
    differing = [f"{d['field']} {d['recorded']} not {d['computed']}" for d in line["differences"][:SHOWN_FIELDS]]
    missing = [f"missing: {each}" for each in line["missing"]]
    cause = [f"{line['cause']}: {line['detail']}" if line["detail"] else line["cause"]] if line["cause"] else []
    return "; ".join([*differing, *missing, *cause])


def clock(ts_ms: int | None, *, day: bool = False) -> str:
    """UTC time of day to the millisecond."""
    if ts_ms is None:
        return "?"
    try:
        when = datetime.fromtimestamp(ts_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # after the year 9999: an order of its last second is valid until then
        return f"{ts_ms} ms"
    return when.strftime("%Y-%m-%d %H:%M:%S.%f" if day else "%H:%M:%S.%f")[:-3]


def print_line(text: str) -> None:
    typer.echo(text)


def _cell(value: object) -> str:
    if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
        return "\n".join(f"{name}: {each['breaches']} of {each['observations']}" for name, each in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{amount} {asset}" for asset, amount in value.items()) or "none"
    return "none" if value is None else str(value)
