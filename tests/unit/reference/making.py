"""Small builders for what the reference values: instruments, markets and recordings in a few words."""

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from services.contracts.messages import AccountState, Collateral, Instrument, Order
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Alarm, DeadLetter, Effect, Emit
from services.engine.settings import Settings
from services.reference.holdings import Holdings, Market, Position
from services.reference.reference import Reference
from services.reference.specs import Spec, collateral_of, spec_of

Tiers = list[tuple[str, str]]


def message(instrument: str = "P", tiers: Tiers | None = None, **fields: Any) -> dict[str, Any]:
    """A linear perpetual in USDT unless said otherwise; tiers are (floor, maintenance rate)."""
    listed = [{"notional_floor": floor, "maintenance_margin_rate": rate} for floor, rate in tiers or [("0", "0.01")]]
    return {
        "instrument": instrument, "kind": "perpetual", "contract": "linear", "underlying": "BTC",
        "settlement_asset": "USDT", "margin_tiers": listed, "liquidation_fee_rate": "0", **fields,
    }  # fmt: skip


def spec(instrument: str = "P", tiers: Tiers | None = None, **fields: Any) -> Spec:
    return spec_of(msgspec.convert(message(instrument, tiers, **fields), Instrument))


def market(
    *specs: Spec,
    marks: Mapping[str, str],
    asset: str = "USDT",
    collateral: tuple[dict[str, Any], ...] = (),
    **more: Any,
) -> Market:
    records = [collateral_of(msgspec.convert(fields, Collateral)) for fields in collateral]
    return Market(
        valuation_asset=asset,
        instruments={each.instrument: each for each in specs},
        collateral={record.asset: record for record in records},
        marks={name: Fraction(text) for name, text in marks.items()},
        indices=more.get("indices", {}),
        multipliers=more.get("multipliers", {}),
        records={},
        now_ms=0,
        leg_marks={},
        asset_ends={},
    )


def position(instrument: str, quantity: str, cost: str = "0", side: str = "net") -> Position:
    return Position(instrument, side, Fraction(quantity), Fraction(cost))


def holdings(balances: Mapping[str, str], *positions: Position) -> Holdings:
    return Holdings({asset: Fraction(text) for asset, text in balances.items()}, positions)


class Script:
    """A recording written line by line into a reference; each call answers the effects."""

    def __init__(self, **settings: Any) -> None:
        self.reference = Reference(Settings(**settings))
        self.offsets: dict[str, int] = {}
        self.effects: list[Effect] = []

    def put(self, topic: str, time_ms: int, *, key: str | None = None, **value: Any) -> list[Effect]:
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        record = Record(
            topic=topic, partition=0, offset=offset, timestamp_ms=time_ms, key=None if key is None else key.encode(),
            value=json.dumps(value).encode(),
        )  # fmt: skip
        return self._seen(self.reference.apply(record))

    def timer(self, time_ms: int) -> list[Effect]:
        return self._seen(self.reference.timer(time_ms))

    def _seen(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        return effects

    def instrument(self, instrument: str = "P", tiers: Tiers | None = None, **fields: Any) -> list[Effect]:
        return self.put("instruments", 0, **message(instrument, tiers, **fields))

    def account(
        self, account: str = "a", mode: str = "isolated", asset: str = "USDT", time_ms: int = 0
    ) -> list[Effect]:
        return self.put("accounts", time_ms, account=account, margin_mode=mode, valuation_asset=asset)

    def deposit(
        self, amount: str, bucket: str | None = "P", *, time_ms: int = 0, name: str | None = None, **fields: Any
    ) -> list[Effect]:
        number = self.offsets.get("transfers", -1) + 1
        fields = {"account": "a", "asset": "USDT", "reason": "deposit", **fields}
        return self.put(
            "transfers",
            time_ms,
            transfer_id=name or f"t-{number}",
            bucket=bucket,
            amount=amount,
            ts_ms=time_ms,
            **fields,
        )

    def fill(
        self, side: str, quantity: str, price: str, *, time_ms: int = 0, name: str | None = None, **fields: Any
    ) -> list[Effect]:
        number = self.offsets.get("fills", -1) + 1
        fields = {"account": "a", "instrument": "P", **fields}
        return self.put(
            "fills",
            time_ms,
            fill_id=name or f"f-{number}",
            side=side,
            quantity=quantity,
            price=price,
            ts_ms=time_ms,
            **fields,
        )

    def price(self, mark: str | None, time_ms: int, instrument: str = "P", **fields: Any) -> list[Effect]:
        stamp = fields.pop("ts_ms", time_ms)
        return self.put("prices", time_ms, instrument=instrument, mark_price=mark, ts_ms=stamp, **fields)

    def order_event(self, order: Order, status: str, filled: str, time_ms: int) -> list[Effect]:
        return self.put(
            "order-events", time_ms, order_id=order.order_id, account=order.account, bucket=order.bucket,
            instrument=order.instrument, attempt=order.attempt, status=status, filled_quantity=filled, ts_ms=time_ms,
        )  # fmt: skip

    def read_back(self, order: Order, time_ms: int) -> list[Effect]:
        return self.put("liquidation-orders", time_ms, **msgspec.to_builtins(order))

    def view(self, bucket: str = "P", account: str = "a") -> BucketView:
        return next(v for v in self.reference.buckets() if (v.account, v.bucket) == (account, bucket))


def orders(effects: list[Effect]) -> list[Order]:
    return [effect.message for effect in effects if isinstance(effect, Emit) and isinstance(effect.message, Order)]


def statuses(effects: list[Effect]) -> list[str]:
    return [e.message.status for e in effects if isinstance(e, Emit) and isinstance(e.message, AccountState)]


def alarms(effects: list[Effect]) -> list[str]:
    return [effect.name for effect in effects if isinstance(effect, Alarm)]


def refusals(effects: list[Effect]) -> list[str]:
    return [effect.refusal.reason for effect in effects if isinstance(effect, DeadLetter)]
