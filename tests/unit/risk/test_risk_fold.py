"""What counts as volatility, when a record is written, and what a late successor does not make up for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from services.contracts.decimals import ONE, parse
from services.contracts.messages import RiskParameters
from services.contracts.records import Record
from services.engine.risk_fold import RiskFold
from services.engine.volatility import RiskModel

MODEL = RiskModel(step_ms=10_000, sample_ms=1_000, half_life_ms=30_000, refresh_ms=60_000, notice_ms=2_000)


@dataclass
class Feed:
    """Records into a fold, a tick a second."""

    fold: RiskFold = field(default_factory=lambda: RiskFold(MODEL))
    now_ms: int = 0
    offset: int = -1
    written: list[RiskParameters] = field(default_factory=list)

    def put(self, topic: str, **value: Any) -> Feed:
        self.offset += 1
        raw = json.dumps({"ts_ms": self.now_ms, **value}).encode()
        record = Record(topic=topic, partition=0, offset=self.offset, timestamp_ms=self.now_ms, key=None, value=raw)
        self.written += self.fold.apply(record)
        return self

    def instrument(self, **changes: Any) -> Feed:
        plain = {
            "instrument": "P", "kind": "perpetual", "contract": "linear", "underlying": "X", "settlement_asset": "USDT",
            "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}], "max_price_move": "0.1",
        }  # fmt: skip
        return self.put("instruments", **(plain | changes))

    def marks(self, *marks: str) -> Feed:
        for mark in marks:
            self.now_ms += 1_000
            self.put("prices", instrument="P", mark_price=mark)
        return self


def test_a_first_record_comes_after_the_first_step_and_says_where_it_rests() -> None:
    feed = Feed().instrument().marks(*["100"] * 12)
    (record,) = feed.written
    assert (record.ts_ms, record.effective_ms, record.as_of) == (11_000, 13_000, [0, 11])
    assert record.multiplier == "1"
    assert parse(record.variance or "0") == feed_variance_of_calm(10)


def feed_variance_of_calm(returns: int) -> int:
    """Ten returns of nothing, each a 30th of the half life."""
    variance = MODEL.initial_sigma**2 / ONE
    return round(variance * 2 ** (-returns / 30))


def test_an_unconfirmed_jump_is_no_volatility() -> None:
    """A single print at half the price, then as before: the same record as if it had not been there."""
    calm = Feed().instrument().marks(*["100"] * 5, "100", *["100"] * 6)
    printed = Feed().instrument().marks(*["100"] * 5, "50", *["100"] * 6)
    assert parse(printed.written[0].variance or "0") < 2 * parse(calm.written[0].variance or "0")
    moved = Feed().instrument(max_price_move=None).marks(*["100"] * 5, "50", *["100"] * 6)
    assert parse(moved.written[0].variance or "0") > 1_000 * parse(calm.written[0].variance or "0")


def test_options_and_unknown_instruments_have_no_multiplier() -> None:
    assert not Feed().marks(*["100"] * 30).written
    option = {"kind": "option", "option_type": "call", "strike": "100", "expiry_ms": 10**13}
    assert not Feed().instrument(**option).marks(*["100"] * 30).written


def test_records_that_are_not_news_are_not_written() -> None:
    """Six steps of calm after the first record: the variance leaves its band now and then, the multiplier stays."""
    feed = Feed().instrument().marks(*["100"] * 72)
    assert 1 < len(feed.written) < 7
    assert {record.multiplier for record in feed.written} == {"1"}


def test_a_late_successor_makes_no_step_without_notice() -> None:
    """Storm while nobody is elected: its variance is learnt, the steps are not made up for: one, when live, from where it stood."""
    first = Feed().instrument().marks(*["100"] * 12)
    heir = Feed(RiskFold(MODEL))
    heir.fold.resume({"P": first.written[0]})
    heir.fold.live = False
    heir.instrument()
    heir.marks(*["100"] * 12, *["101", "100"] * 60)
    assert not heir.written
    heir.fold.live = True
    heir.marks("101", "100", "101", "100")
    (record,) = heir.written
    assert record.multiplier == "1.25", "the demand is the cap, the step is one"
    assert record.effective_ms == record.ts_ms + MODEL.notice_ms == heir.now_ms - 3_000 + MODEL.notice_ms


def test_multipliers_of_another_are_only_watched() -> None:
    feed = Feed(RiskFold(MODEL, computes=False)).instrument()
    feed.put("risk-parameters", instrument="P", multiplier="3", effective_ms=0)
    feed.marks(*["100", "102"] * 70)
    assert not feed.written
    test = feed.fold.backtests["P"]
    assert (test.observations, test.breaches) == (2, 0), "2 % is within 3 times 1 %"
