"""The venue that stands on a deployment's Kafka: orders of another run are none of its business, claims are."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.codec import encode
from services.contracts.messages import AccountState, Claim
from services.contracts.records import Record
from services.demo import standing
from services.demo.accounts import openings
from services.demo.instruments import MARKET
from services.demo.standing import SinceStart
from tests.unit.liquidator.fakes import an_order

NOW_MS = 1_800_000_000_000


class Log:
    """A wire that hands over what the test wrote."""

    def __init__(self, *records: Record) -> None:
        self.records = list(records)

    async def read(self) -> list[Record]:
        return self.records


def record(topic: str, value: bytes, timestamp_ms: int) -> Record:
    return Record(topic=topic, partition=0, offset=0, timestamp_ms=timestamp_ms, key=b"a", value=value)


async def test_only_claims_count_from_before_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "now_ms", lambda: NOW_MS)
    claim = encode(Claim(instance="w-1", nonce="n", ts_ms=0))
    order = encode(an_order("a", 0))
    state = encode(AccountState(
        account="a", bucket="main", client="c", status="healthy", previous_status=None, valuation_asset="USDT", equity="1",
        initial_margin="0", maintenance_margin="0", free_margin="1", maintenance_excess="1", ts_ms=0,
    ))  # fmt: skip
    old = [
        record("liquidation-orders", claim, 1),
        record("liquidation-orders", order, 1),
        record("account-states", state, 1),
    ]
    new = [record("liquidation-orders", order, NOW_MS), record("account-states", state, NOW_MS + 1)]
    wire: Any = Log(*old, *new)
    assert await SinceStart(wire).read() == [old[0], *new]


def test_clients_of_two_runs_have_names_of_their_own() -> None:
    prices = {listing.name: listing.to_tick(listing.first_price) for listing in MARKET}
    first, second = (
        {opening.account.account for opening in openings(1, 20, MARKET, prices, ts_ms=0, run=run)} for run in ("1", "2")
    )
    assert len(first) == len(second) == 20
    assert not first & second
