"""Scenarios as scripts: events written down as words, run through the command line, effects read back as words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from services.cli.main import app

START_MS = 1_700_000_000_000


@dataclass
class Tape:
    """A recording in the making; `at` is the time of the next event in milliseconds after the start."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    at: int = 0

    def wait(self, milliseconds: int) -> Tape:
        self.at += milliseconds
        return self

    def put(self, topic: str, value: dict[str, Any] | str) -> Tape:
        stamped = value if isinstance(value, str) else {**value, "ts_ms": START_MS + self.at}
        self.lines.append({"topic": topic, "timestamp_ms": START_MS + self.at, "value": stamped})
        return self

    def instrument(self, name: str = "BTC-PERP", **changes: Any) -> Tape:
        """Linear, one tier of 2 % initial and 1 % maintenance, tick 0.1, lot 0.001."""
        plain = {
            "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": "BTC", "settlement_asset": "USDT",
            "tick_size": "0.1", "lot_size": "0.001",
            "margin_tiers": [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}],
        }  # fmt: skip
        return self.put("instruments", plain | changes)

    def account(self, name: str = "a-1", mode: str = "isolated", **changes: Any) -> Tape:
        plain = {"account": name, "client": "c-1", "margin_mode": mode, "valuation_asset": "USDT"}
        return self.put("accounts", plain | changes)

    def deposit(self, amount: str, bucket: str = "BTC-PERP", account: str = "a-1", **changes: Any) -> Tape:
        plain = {
            "transfer_id": f"t-{len(self.lines)}", "account": account, "bucket": bucket, "asset": "USDT", "amount": amount,
            "reason": "deposit",
        }  # fmt: skip
        return self.put("transfers", plain | changes)

    def fill(self, side: str, quantity: str, price: str, account: str = "a-1", **changes: Any) -> Tape:
        plain = {
            "fill_id": f"f-{len(self.lines)}", "account": account, "instrument": "BTC-PERP", "side": side,
            "quantity": quantity, "price": price,
        }  # fmt: skip
        return self.put("fills", plain | changes)

    def mark(self, price: str, instrument: str = "BTC-PERP") -> Tape:
        return self.put("prices", {"instrument": instrument, "mark_price": price})

    def long(self) -> Tape:
        """100 USDT and one contract bought at 1000: liquidation price 909.1, bankruptcy price 900. Then settled."""
        return self.instrument().account().deposit("100").fill("buy", "1", "1000").mark("1000").wait(1_000)

    def text(self) -> str:
        return "".join(json.dumps(line) + "\n" for line in self.lines)


@dataclass
class Outcome:
    """What a command said."""

    exit_code: int
    lines: list[dict[str, Any]]
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        assert self.lines[-1]["effect"] == "summary"
        return self.lines[-1]

    def effects(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["effect"] == name]

    @property
    def story(self) -> list[str]:
        """Every effect but the summary in a few words."""
        return [words(line) for line in self.lines if line["effect"] != "summary"]


def words(line: dict[str, Any]) -> str:
    match line["effect"]:
        case "liquidation-order":
            return f"{line['side']} {line['quantity']} at {line['limit_price']} {line['stage']} #{line['attempt']}"
        case "account-state":
            return f"{line['previous_status']} -> {line['status']}"
        case "dead-letter":
            return f"refused {line['topic']} {line['reason']}"
        case "default":
            return f"missing {line['deficit']} {line['asset']}"
        case "difference":
            return f"differ at {line['cause']}"
        case _:
            return f"alarm {line['name']}"


def run(command: str, tape: Tape | str, *arguments: str, folder: Path | None = None) -> Outcome:
    """`ringfence COMMAND - --json ARGUMENTS`, or on a file below `folder`."""
    text = tape if isinstance(tape, str) else tape.text()
    path = "-"
    if folder is not None:
        file = folder / "recording.jsonl"
        file.write_text(text)
        path = str(file)
    result = CliRunner().invoke(app, [command, path, "--json", *arguments], input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr)


def replay(tape: Tape | str, *arguments: str) -> Outcome:
    return run("replay", tape, *arguments)
