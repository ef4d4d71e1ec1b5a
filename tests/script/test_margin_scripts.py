"""Golden scenarios through `ringfence margin`: the state of every bucket, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.script.tape import Tape, run

BUCKET_KEYS = [
    "account", "bucket", "client", "margin_mode", "valuation_asset", "status", "equity", "initial_margin", "maintenance_margin",
    "free_margin", "maintenance_excess", "liquidatable", "balances", "locked", "positions", "greeks", "worst_scenario",
]  # fmt: skip
POSITION_KEYS = [
    "instrument", "quantity", "entry_price", "mark_price", "notional", "unrealised_pnl", "initial_margin", "maintenance_margin",
    "liquidation_price", "bankruptcy_price",
]  # fmt: skip


def test_an_isolated_long() -> None:
    outcome = run("margin", Tape().long().mark("950"))
    assert outcome.exit_code == 0
    (line,) = outcome.lines
    assert list(line) == BUCKET_KEYS
    assert list(line["positions"][0]) == POSITION_KEYS
    assert line == {
        "account": "a-1", "bucket": "BTC-PERP", "client": "c-1", "margin_mode": "isolated", "valuation_asset": "USDT",
        "status": "healthy", "equity": "50", "initial_margin": "19", "maintenance_margin": "9.5", "free_margin": "31",
        "maintenance_excess": "40.5", "liquidatable": False, "balances": {"USDT": "-900"}, "locked": {},
        "positions": [
            {
                "instrument": "BTC-PERP", "quantity": "1", "entry_price": "1000", "mark_price": "950", "notional": "950",
                "unrealised_pnl": "-50", "initial_margin": "19", "maintenance_margin": "9.5", "liquidation_price": "909.1",
                "bankruptcy_price": "900",
            }
        ],
        "greeks": None, "worst_scenario": None,
    }  # fmt: skip


def test_a_short_is_signed_and_its_prices_are_rounded_down() -> None:
    """100 = (p - 1000) + 0.01·p: p = 1100/1.01 = 1089.1089…"""
    tape = Tape().instrument().account().deposit("100").fill("sell", "1", "1000").mark("1000")
    (position,) = run("margin", tape).lines[0]["positions"]
    assert (position["quantity"], position["liquidation_price"], position["bankruptcy_price"]) == (
        "-1",
        "1089.1",
        "1100",
    )


def test_buckets_are_sorted_by_account_then_name_and_positions_by_instrument() -> None:
    tape = Tape()
    for name in ("ETH-PERP", "BTC-PERP"):
        tape.instrument(name).mark("100", name)
    for account, mode in (("b", "isolated"), ("a", "cross")):
        tape.account(account, mode)
        for name in ("ETH-PERP", "BTC-PERP"):
            tape.deposit("50", "main" if mode == "cross" else name, account).fill(
                "buy", "1", "100", account, instrument=name
            )
    lines = run("margin", tape).lines
    assert [(line["account"], line["bucket"]) for line in lines] == [
        ("a", "main"),
        ("b", "BTC-PERP"),
        ("b", "ETH-PERP"),
    ]
    assert [position["instrument"] for position in lines[0]["positions"]] == ["BTC-PERP", "ETH-PERP"]


def test_a_bucket_without_a_mark_is_incomplete_and_tells_no_numbers() -> None:
    (line,) = run("margin", Tape().instrument().account().deposit("100").fill("buy", "1", "1000")).lines
    assert line["status"] == "incomplete"
    numbers = ("equity", "initial_margin", "maintenance_margin", "free_margin", "maintenance_excess")
    assert [line[key] for key in numbers] == [None] * 5
    assert line["positions"][0]["mark_price"] is None
    assert line["balances"] == {"USDT": "-900"}


def test_a_liquidatable_bucket_is_told_and_nothing_is_decided() -> None:
    (line,) = run("margin", Tape().long().mark("909")).lines
    assert (line["liquidatable"], line["status"], line["positions"][0]["quantity"]) == (True, "reduce_only", "1")


def test_an_account_without_a_record_counts_as_what_it_becomes() -> None:
    (line,) = run("margin", Tape().deposit("100", "main")).lines
    assert (line["margin_mode"], line["client"], line["valuation_asset"], line["equity"]) == (
        "cross",
        "a-1",
        "USDT",
        "100",
    )


def test_refused_records_are_told_one_by_one_and_counted() -> None:
    tape = Tape().long().put("fills", "not json").put("unheard-of", {})
    outcome = run("margin", tape)
    assert outcome.exit_code == 0
    first, second, count = outcome.stderr.splitlines()
    assert first.startswith("refused fills[0]@1: invalid_json: ")
    assert second.startswith("refused unheard-of[0]@0: unknown_topic: ")
    assert count == "2 records refused"
    assert run("margin", tape, "--strict").exit_code == 1
    assert run("margin", Tape().long(), "--strict").exit_code == 0


def test_numbers_are_plain() -> None:
    """Seven decimals down and eighteen digits up: no exponent, no trailing zero, no minus zero."""
    tape = Tape().instrument(tick_size=None, lot_size=None).account().deposit("100000000000000000.10")
    tape.fill("buy", "0.0000001", "3").mark("3")
    (line,) = run("margin", tape).lines
    assert line["equity"] == "100000000000000000.1"
    assert line["positions"][0]["quantity"] == "0.0000001"
    assert line["positions"][0]["notional"] == "0.0000003"
    assert line["positions"][0]["unrealised_pnl"] == "0"


@pytest.mark.parametrize("form", ["-", "file"])
def test_a_path_and_standard_input_say_the_same(form: str, tmp_path: Path) -> None:
    outcome = run("margin", Tape().long(), folder=tmp_path if form == "file" else None)
    assert outcome.lines[0]["equity"] == "100"


def test_a_preset_file_replaces_the_accounts_own(tmp_path: Path) -> None:
    """A portfolio account names its preset; the file given, with twice the maintenance factor, replaces it."""
    shipped = Path(__file__).parents[2] / "services" / "presets" / "span-like.json"
    doubled = tmp_path / "doubled.json"
    doubled.write_text(shipped.read_text().replace('"mm_factor": "1"', '"mm_factor": "2"'))
    tape = Tape().instrument().account("a-1", "portfolio", margin_preset="span-like").deposit("1000", "main")
    tape.put("prices", {"instrument": "BTC-PERP", "mark_price": "1000", "index_price": "1000"}).fill("buy", "1", "1000")
    (own,), (replaced,) = run("margin", tape).lines, run("margin", tape, "--preset", str(doubled)).lines
    assert own["status"] != "incomplete"
    assert float(replaced["maintenance_margin"]) == pytest.approx(2 * float(own["maintenance_margin"]))
    assert own["worst_scenario"]
    assert list(own["greeks"]) == ["BTC"]
