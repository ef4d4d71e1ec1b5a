"""Worked examples that venues publish, from data files to margin views: facts typed by hand, each with its source.

A case stands on the conventions of its venue's parameter file; what an example has of its own (tiers of its day, a fee left out)
is written beside it. An expectation is [value, tolerance]; the tolerance is what the published rounding leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.settings import Settings
from services.replay.choices import EngineName
from services.replay.engines import make_engine
from services.replay.fold import fold, sorted_views
from services.venues.loader import Venue, load_venue

FOLDER = Path(__file__).resolve().parents[1] / "data" / "published"
ACCOUNT = "published"
BUCKET = "bucket"
TIER_FIELDS = ("notional_floor", "maintenance_margin_rate", "initial_margin_rate", "maintenance_deduction")


@dataclass(frozen=True)
class Case:
    """One example. `terms` is its object in the file, on top of the file's own defaults."""

    name: str
    terms: dict[str, Any]

    @property
    def venue(self) -> Venue | None:
        return load_venue(self.terms["venue"]) if "venue" in self.terms else None

    @property
    def settings(self) -> Settings:
        return Settings(liquidate_at_equal=self.venue is not None and self.venue.liquidate_at_equal)


@cache
def published_cases() -> tuple[Case, ...]:
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        defaults = {key: value for key, value in content.items() if key != "cases"}
        found += [Case(f"{path.stem}/{case['id']}", defaults | case) for case in content["cases"]]
    return tuple(found)


def view_of(case: Case, engine: EngineName) -> BucketView:
    """The case's one bucket, as `ringfence margin` would print it. Nothing of a case may be refused."""
    machine = make_engine(engine, case.settings, {}, gates_open=False, observe=False)
    refused = [letter.refusal for letter in fold(machine, records(case))]
    assert not refused, refused
    (view,) = sorted_views(machine)
    return view


def differences(case: Case, view: BucketView) -> list[str]:
    """What is not as published, in words."""
    found = []
    rows = {position.instrument: msgspec.structs.asdict(position) for position in view.positions}
    rows[BUCKET] = msgspec.structs.asdict(view)
    for name, fields in case.terms["expect"].items():
        for field, (value, tolerance) in fields.items():
            got = rows[name][field]
            if got is None or abs(Decimal(got) - Decimal(value)) > Decimal(tolerance):
                found.append(f"{name} {field}: published {value} ± {tolerance}, ours {got}")
    expected = case.terms.get("liquidatable")
    if expected is not None and view.liquidatable != expected:
        found.append(f"liquidatable: published {expected}, ours {view.liquidatable}")
    return found


def records(case: Case) -> Iterator[Record]:
    """The events that lead to the example: reference data, account, deposits, fills and marks."""
    for offset, (topic, value) in enumerate(_events(case)):
        content = json.dumps(value | {"ts_ms": 0}).encode()
        yield Record(topic=topic, partition=0, offset=offset, timestamp_ms=0, key=None, value=content)


def _events(case: Case) -> Iterator[tuple[str, dict[str, Any]]]:
    terms = case.terms
    mode, asset = terms.get("mode", "isolated"), terms.get("asset", "USDT")
    for row in terms.get("collateral", ()):
        yield "collateral", _collateral(row)
    for name, row in terms["instruments"].items():
        yield "instruments", _instrument(case, name, row)
    for name, multiplier in terms.get("multipliers", {}).items():
        yield "risk-parameters", {"instrument": name, "multiplier": multiplier, "effective_ms": 0}
    yield "accounts", {"account": ACCOUNT, "margin_mode": mode, "valuation_asset": asset}
    bucket = next(iter(terms["instruments"])) if mode == "isolated" else "main"
    for held, amount in terms["deposits"].items():
        yield "transfers", {
            "transfer_id": f"t-{held}", "account": ACCOUNT, "bucket": bucket, "asset": held, "amount": amount, "reason": "adjustment",
        }  # fmt: skip
    for number, (name, side, quantity, price) in enumerate(terms["fills"]):
        yield "fills", {
            "fill_id": f"f-{number}", "account": ACCOUNT, "instrument": name, "side": side, "quantity": quantity, "price": price,
        }  # fmt: skip
    for name, mark in terms["marks"].items():
        yield "prices", {"instrument": name, "mark_price": mark, "index_price": terms.get("indices", {}).get(name)}


def _instrument(case: Case, name: str, row: dict[str, Any]) -> dict[str, Any]:
    """The venue's instrument that it is like, with what the example says otherwise."""
    base: dict[str, Any] = {}
    own = {key: value for key, value in row.items() if key not in ("like", "tiers")}
    if case.venue is not None:
        base = dict(case.venue.conventions)
        if "like" in row:
            base |= msgspec.to_builtins(case.venue.instrument(row["like"]))
    if "tiers" in row:
        base["margin_tiers"] = [dict(zip(TIER_FIELDS, tier, strict=False)) for tier in row["tiers"]]
    return base | own | {"instrument": name}


def _collateral(row: dict[str, Any]) -> dict[str, Any]:
    tiers = [{"floor": floor, "weight": weight} for floor, weight in row["weights"]]
    return {"asset": row["asset"], "price_instrument": row["price_instrument"], "weight_tiers": tiers}
