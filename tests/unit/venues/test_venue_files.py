"""Every venue file is complete, decodes as a venue's records would, and its conventions do what they say."""

from __future__ import annotations

import tomllib
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from services.contracts.codec import decode, encode
from services.contracts.decimals import ONE
from services.contracts.messages import Instrument
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.engine import Engine
from services.engine.instruments import spec_of
from services.engine.settings import Settings
from services.venues.loader import VenueError, load_venue, parse_venue, venue_names

ASKED_FOR = {"binance-usdm", "binance-coinm", "bybit", "okx", "gate", "hyperliquid", "dydx", "deribit", "bitmex"}
NUMBERS = (
    "contract_size", "tick_size", "lot_size", "margin_tiers", "option_margin", "taker_fee_rate", "liquidation_fee_rate",
)  # fmt: skip
MINIMAL = """
title = "T"
liquidate_at_equal = false
[conventions]
maintenance_basis = "mark"
[[instruments]]
instrument = "X"
kind = "perpetual"
contract = "linear"
underlying = "X"
settlement_asset = "USDT"
margin_tiers = [{ notional_floor = "0", maintenance_margin_rate = "0.01" }]
"""


def raw(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("services") / "venues" / f"{name}.toml").read_text(encoding="utf-8"))


def test_the_venues_asked_for_are_there() -> None:
    assert set(venue_names()) >= ASKED_FOR


@pytest.mark.parametrize("name", venue_names())
def test_every_instrument_says_the_three_conventions_and_survives_the_wire(name: str) -> None:
    for instrument in load_venue(name).instruments:
        assert None not in (instrument.maintenance_basis, instrument.close_fee_basis, instrument.tier_boundary)
        assert decode("instruments", encode(instrument)) == instrument
    for collateral in load_venue(name).collateral:
        assert decode("collateral", encode(collateral)) == collateral


@pytest.mark.parametrize("name", venue_names())
def test_every_number_of_an_instrument_names_its_source(name: str) -> None:
    for row in raw(name)["instruments"]:
        numbers = {field for field in NUMBERS if field in row}
        assert numbers == set(row["sources"]), row["instrument"]
    for row in raw(name).get("collateral", ()):
        assert set(row["sources"]) == {"weight_tiers"}


@pytest.mark.parametrize("name", venue_names())
def test_every_convention_has_a_source_beside_it(name: str) -> None:
    text = (resources.files("services") / "venues" / f"{name}.toml").read_text(encoding="utf-8")
    head = text[text.index("liquidate_at_equal") : text.index("[[instruments]]")]
    bare = [line for line in head.splitlines() if "=" in line and "#" not in line]
    assert not bare


def test_published_amounts_of_binance_are_the_derived_deductions() -> None:
    instrument = load_venue("binance-usdm").instrument("BTCUSDT")
    bare = [msgspec.structs.replace(tier, maintenance_deduction=None) for tier in instrument.margin_tiers]
    derived = msgspec.structs.replace(instrument, margin_tiers=bare)
    assert spec_of(derived, (0, 0)).tiers == spec_of(instrument, (0, 0)).tiers


@pytest.mark.parametrize(
    ("instrument", "price", "base", "slope"),
    [
        ("BTC-PERPETUAL", None, "0.01", "0.00005"),
        ("BTC_USDC-PERPETUAL", 100_000, "0.01", "0.00005"),
        ("SOL_USDC-PERPETUAL", 200, "0.02", "0.000005"),
    ],
)
def test_chords_of_deribit_meet_the_quadratic_at_their_ends(
    instrument: str, price: int | None, base: str, slope: str
) -> None:
    """(r0 + k·q)·q at every floor, q in units of the base, and never less in between."""
    tiers = spec_of(load_venue("deribit").instrument(instrument), (0, 0)).tiers
    unit = 1 if price is None else price

    def venue(notional: Fraction) -> Fraction:
        return (Fraction(base) + Fraction(slope) * notional / unit) * notional

    def ours(notional: Fraction) -> Fraction:
        return max(
            Fraction(tier.maintenance_rate, ONE) * notional - Fraction(tier.maintenance_deduction, ONE * ONE)
            for tier in tiers
        )

    floors = [Fraction(tier.floor, ONE) for tier in tiers]
    assert all(ours(floor) == venue(floor) for floor in floors)
    for low, high in pairwise(floors):
        middle = (low + high) / 2
        assert 0 <= ours(middle) - venue(middle) <= Fraction(slope) / unit * (high - low) ** 2 / 4


@pytest.mark.parametrize(
    ("name", "liquidatable"), [("binance-usdm", True), ("bybit", True), ("hyperliquid", False), ("dydx", False)]
)
def test_equality_triggers_where_the_venue_says_so(name: str, liquidatable: bool) -> None:
    """One contract at 1,000 with an equity of exactly 10: a rate of 1 %."""
    assert one_position(name, "10").liquidatable is liquidatable
    assert one_position(name, "9.999999999999999999").liquidatable
    assert not one_position(name, "10.000000000000000001").liquidatable


def one_position(name: str, deposit: str) -> BucketView:
    venue = load_venue(name)
    engine = Engine(Settings(liquidate_at_equal=venue.liquidate_at_equal), {}, gates_open=False)
    row = venue.conventions | {
        "instrument": "X", "kind": "perpetual", "contract": "linear", "underlying": "X", "settlement_asset": "USDT",
        "liquidation_fee_rate": "0", "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}],
    }  # fmt: skip
    events: list[tuple[str, dict[str, Any]]] = [
        ("instruments", row),
        ("accounts", {"account": "a", "margin_mode": "cross", "valuation_asset": "USDT"}),
        ("transfers", {"transfer_id": "t", "account": "a", "asset": "USDT", "amount": deposit, "reason": "deposit"}),
        ("fills", {"fill_id": "f", "account": "a", "instrument": "X", "side": "buy", "quantity": "1", "price": "1000"}),
        ("prices", {"instrument": "X", "mark_price": "1000"}),
    ]
    for offset, (topic, value) in enumerate(events):
        content = msgspec.json.encode(value | {"ts_ms": 0})
        engine.apply(Record(topic=topic, partition=0, offset=offset, timestamp_ms=0, key=None, value=content))
    (view,) = engine.buckets()
    return view


def test_conventions_are_defaults_that_an_instrument_may_override() -> None:
    assert parse_venue(MINIMAL, "t").instrument("X").maintenance_basis == "mark"
    own = parse_venue(MINIMAL.replace('kind = "perpetual"', 'kind = "perpetual"\nmaintenance_basis = "entry"'), "t")
    assert own.instrument("X").maintenance_basis == "entry"
    assert isinstance(own.instrument("X"), Instrument)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (MINIMAL.replace('title = "T"', ""), "title"),
        (MINIMAL.replace('kind = "perpetual"', 'kind = "swap"'), "swap"),
        (MINIMAL.replace('underlying = "X"', 'underlying = "X"\nleverage = "5"'), "leverage"),
        (MINIMAL.replace('notional_floor = "0"', 'notional_floor = "5"'), "start at 0"),
        (MINIMAL + "=", "Invalid"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(wrong: str, why: str) -> None:
    with pytest.raises(VenueError, match=why):
        parse_venue(wrong, "t")


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(VenueError, match="no venue mtgox"):
        load_venue("mtgox")
    with pytest.raises(VenueError, match="no instrument"):
        load_venue("dydx").instrument("LUNA-USD")
