"""The order in `schemas/examples` is not made up: it is what the engine answers to the other examples."""

from __future__ import annotations

from msgspec.structs import replace

from services.contracts import messages as m
from services.contracts.codec import encode
from services.contracts.examples import EPOCH, EXAMPLES, ORDER, PARTITION, PARTITIONS, PERPETUAL, T0
from services.contracts.records import Record
from services.engine.effects import Emit
from services.engine.engine import Engine
from services.engine.settings import Settings


def test_the_example_order_is_computed_by_the_engine() -> None:
    """Long 0.5 at 64,123.5 with 987.2; a fall to 62,390 leaves 120.45 of equity against 124.78 of maintenance margin."""
    engine = Engine(Settings(account_partitions=PARTITIONS))

    def apply(topic: str, offset: int, at_ms: int, message: m.Message) -> list[m.Message]:
        partition = 0 if topic in ("instruments", "collateral", "controls", "risk-parameters", "prices") else PARTITION
        record = Record(
            topic=topic, partition=partition, offset=offset, timestamp_ms=at_ms, key=None, value=encode(message)
        )
        return [effect.message for effect in engine.apply(record) if isinstance(effect, Emit)]

    collateral = next(example.message for example in EXAMPLES if isinstance(example.message, m.Collateral))
    apply("instruments", 41, T0, PERPETUAL)
    apply("collateral", 7, T0, collateral)
    apply(
        "controls", 3, T0, m.Control(control_id="c-1", scope="instrument", target="ETH-PERP", action="resume", ts_ms=T0)
    )
    neutral = m.RiskParameters(instrument="ETH-PERP", multiplier="1", effective_ms=T0, ts_ms=T0)
    apply("risk-parameters", 99, T0, neutral)
    apply("accounts", 4, T0, m.Account(account="a-17", client="c-9", margin_mode="isolated", valuation_asset="USDT"))
    apply("liquidation-orders", EPOCH, T0, m.Claim(instance="w-1", nonce="n-1", ts_ms=T0))
    earlier = m.OrderEvent(
        order_id="o-0", account="a-17", bucket="BTC-PERP", instrument="BTC-PERP", attempt=0, status="expired", ts_ms=T0
    )
    apply("order-events", 17, T0, earlier)
    deposit = m.Transfer(
        transfer_id="t-1", account="a-17", bucket="BTC-PERP", asset="USDT", amount="987.2", reason="deposit", ts_ms=T0
    )
    fill = m.Fill(
        fill_id="f-1", account="a-17", instrument="BTC-PERP", side="buy", quantity="0.5", price="64123.5", ts_ms=T0
    )
    apply("transfers", 90, T0, deposit)
    apply("fills", 1881, T0, fill)
    tick = m.Price(instrument="BTC-PERP", mark_price="64123.5", ts_ms=T0)
    apply("prices", 55_000, T0, tick)
    orders = apply("prices", 55_121, T0 + 60_000, replace(tick, mark_price="62390", ts_ms=T0 + 60_000))
    assert [message for message in orders if isinstance(message, m.Order)] == [ORDER]
