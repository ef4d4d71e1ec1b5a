"""What-if: which settings and fields `--set` reaches, and how it refuses what cannot be meant."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.contracts.codec import decode
from services.contracts.decimals import ONE
from services.contracts.messages import Collateral, Instrument, MarginTier
from services.engine.settings import Ladder, Settings
from services.replay.overrides import COUNTS, OverrideError, Overrides
from tests.unit.replay.fakes import instrument, of, price, record

TIERS = [
    MarginTier(notional_floor="0", initial_margin_rate="0.008", maintenance_margin_rate="0.004"),
    MarginTier(
        notional_floor="100", initial_margin_rate="0.05", maintenance_margin_rate="0.03", maintenance_deduction="2"
    ),
]


def changed(text: str, **fields: Any) -> Instrument:
    overrides = Overrides([text])
    (changed_record,) = overrides.records([of(instrument("BTC-PERP", margin_tiers=TIERS, **fields))])
    assert overrides.unused == []
    message = decode("instruments", changed_record.value)
    assert isinstance(message, Instrument)
    return message


def test_a_tiers_field_without_a_number_means_every_tier() -> None:
    tiers = changed("instrument.BTC-PERP.maintenance_margin_rate=0.01").margin_tiers
    assert [tier.maintenance_margin_rate for tier in tiers] == ["0.01", "0.01"]
    assert [tier.initial_margin_rate for tier in tiers] == ["0.01", "0.05"], "lifted where it would be below"
    assert [tier.maintenance_deduction for tier in tiers] == [None, None], "derived again from the new rate"


def test_one_tier_is_named_by_its_number() -> None:
    tiers = changed("instrument.BTC-PERP.margin_tiers.1.maintenance_margin_rate=0.04").margin_tiers
    assert [tier.maintenance_margin_rate for tier in tiers] == ["0.004", "0.04"]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("instrument.BTC-PERP.taker_fee_rate=0.0004", "taker_fee_rate", "0.0004"),
        ("instrument.BTC-PERP.max_price_age_ms=900", "max_price_age_ms", 900),
        ("instrument.BTC-PERP.insurance_pool=null", "insurance_pool", None),
        ("instrument.BTC-PERP.status=halted", "status", "halted"),
    ],
)
def test_a_field_of_an_instrument_is_replaced(text: str, field: str, value: object) -> None:
    assert getattr(changed(text, insurance_pool="p-1"), field) == value


def test_ids_may_hold_dots() -> None:
    overrides = Overrides(["instrument.BTC.PERP.v2.tick_size=0.5"])
    (record_after,) = overrides.records([of(instrument("BTC.PERP.v2"))])
    assert msgspec.json.decode(record_after.value)["tick_size"] == "0.5"


def test_a_field_of_a_collateral_is_replaced() -> None:
    overrides = Overrides(["collateral.BTC.price_floor=2"])
    (record_after,) = overrides.records([of(Collateral(asset="BTC", price_instrument="BTC-USDT"))])
    assert decode("collateral", record_after.value) == Collateral(
        asset="BTC", price_instrument="BTC-USDT", price_floor="2"
    )


def test_everything_else_stays_as_it_is() -> None:
    records = [of(instrument("ETH-PERP")), of(price("1")), record("instruments", b"not json")]
    overrides = Overrides(["instrument.BTC-PERP.tick_size=1"])
    assert list(overrides.records(records)) == records
    assert overrides.unused == ["instrument.BTC-PERP.tick_size=1"]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("engine.account_settle_ms=0", "account_settle_ms", 0),
        ("engine.max_attempts=3", "max_attempts", 3),
        ("engine.hysteresis=0.1", "hysteresis", ONE // 10),
        ("engine.liquidate_at_equal=true", "liquidate_at_equal", True),
        ("engine.account_partitions=16", "account_partitions", 16),
        ("engine.gap_guard=cross", "gap_guard", "cross"),
    ],
)
def test_a_setting_is_replaced(text: str, field: str, value: object) -> None:
    assert getattr(Overrides([text]).settings(Settings()), field) == value


def test_every_setting_is_a_time_a_count_a_switch_a_word_or_a_rate() -> None:
    """Rates default to what is written with ONE: a count that is taken for a rate would show here."""
    for name in set(Settings.__struct_fields__) - {"ladders"}:  # their rungs are set one by one
        default = getattr(Settings(), name)
        is_count = name.endswith("_ms") or name in COUNTS or isinstance(default, bool | str)
        assert is_count or default >= ONE // 1_000_000_000, name


@pytest.mark.parametrize(
    "text",
    [
        "engine.account_settle_ms",
        "engine.unheard_of=1",
        "engine.gap_guard=on",
        "engine.account_settle_ms=-1",
        "engine.account_settle_ms=1.5",
        "engine.hysteresis=-0.1",
        "engine.hysteresis=1e-3",
        "engine.liquidate_at_equal=yes",
        "account.a-1.margin_mode=cross",
        "instrument.BTC-PERP=1",
        "instrument.BTC-PERP.unheard_of=1",
        "instrument.tick_size=1",
        "=1",
        "x=",
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(OverrideError, match="--set"):
        Overrides([text]).settings(Settings())


@pytest.mark.parametrize(
    "text",
    [
        "instrument.BTC-PERP.maintenance_margin_rate=2",
        "instrument.BTC-PERP.maintenance_margin_rate=abc",
        "instrument.BTC-PERP.tick_size=-1",
        "instrument.BTC-PERP.kind=swap",
        "instrument.BTC-PERP.margin_tiers.7.maintenance_margin_rate=0.1",
    ],
)
def test_a_value_that_makes_the_record_refused_is_refused(text: str) -> None:
    with pytest.raises(OverrideError, match="--set"):
        changed(text)


def test_a_rung_of_one_class_of_accounts() -> None:
    settings = Overrides(
        ["engine.ladders.house:cross.warning_buffer=0.5", "engine.ladders.house:cross.rung_hysteresis=0"]
    )
    changed = settings.settings(Settings(ladders={"client:cross": Ladder(warning_buffer=7)}))
    assert changed.ladders == {
        "client:cross": Ladder(warning_buffer=7), "house:cross": Ladder(warning_buffer=ONE // 2, rung_hysteresis=0),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "ladders",
        "ladders.house",
        "ladders.house:cross",
        "ladders.broker:cross.warning_buffer",
        "ladders.house:cross.hysteresis",
    ],
)
def test_a_rung_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OverrideError, match=r"house:cross|no such setting"):
        Overrides([f"engine.{name}=0.5"]).settings(Settings())
