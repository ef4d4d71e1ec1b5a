"""Accounts of several kinds, each near enough to liquidation, or not, that one tick of one instrument decides on it.

Nothing here depends on when it is read: no account is under water with some of its fills and not with others, of all that an
account holds one price moves, once, and there are no options, which age. So what is decided does not depend on who reads what else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.venue import INSTRUMENT

Put = tuple[str, str, dict[str, Any]]  # topic, key, value

MARKS: Final = {INSTRUMENT: 50_000, "ETH-PERP": 3_000, "SOL-PERP": 100, "BTC-USD": 50_000, "BTC-USDT": 50_000}
FALLING: Final = (INSTRUMENT, "ETH-PERP", "BTC-USD", "BTC-USDT")
AFTER_FALL: Final = 0.97
PARTS: Final = 4  # fills of a position: half of them are there before the workers, half come while they work
AGE_MS: Final = 600_000


@dataclass(frozen=True)
class Kind:
    """A kind of account: what it holds, and the money with which it falls, or does not."""

    name: str
    mode: str
    positions: tuple[tuple[str, float, float], ...]  # instrument, signed quantity, price
    weak: str
    strong: str
    asset: str = "USDT"
    valuation_asset: str = "USDT"
    buckets: tuple[str | None, ...] = (None,)


KINDS: Final = (
    Kind("cross", "cross", ((INSTRUMENT, 1, 50_000), ("SOL-PERP", -10, 100)), weak="1700", strong="5000"),
    Kind("ruined", "cross", ((INSTRUMENT, 1, 50_000),), weak="1300", strong="5000"),
    Kind(
        "isolated", "isolated", (("ETH-PERP", 10, 3_000), ("SOL-PERP", -10, 100)), weak="1000", strong="4000",
        buckets=("ETH-PERP", "SOL-PERP"),
    ),
    Kind("inverse", "cross", (("BTC-USD", 500, 50_000),), weak="0.035", strong="0.2", asset="BTC", valuation_asset="BTC"),
    Kind("collateral", "cross", (("SOL-PERP", 800, 105),), weak="0.1", strong="0.2", asset="BTC"),
    Kind("portfolio", "portfolio", ((INSTRUMENT, 1, 50_000), ("SOL-PERP", -10, 100)), weak="8900", strong="20000"),
)  # fmt: skip


class Book:
    """`accounts` accounts, the kinds in turn; of each kind every other account falls."""

    def __init__(self, accounts: int, now_ms: int) -> None:
        self._now_ms = now_ms
        self._accounts = [
            (f"{(kind := KINDS[number % len(KINDS)]).name}-{number}", kind, number // len(KINDS) % 2 == 0)
            for number in range(accounts)
        ]
        self.accounts = [name for name, _, _ in self._accounts]
        self.fallen = {name for name, _, falls in self._accounts if falls}

    def before(self) -> Iterator[Put]:
        """Reference data, marks, money and half of the fills."""
        yield from self._reference()
        for name, kind, falls in self._accounts:
            more = {"margin_preset": "derive-pm2"} if kind.mode == "portfolio" else {}
            yield self._put("accounts", name, account=name, client=f"c-{name}", margin_mode=kind.mode,
                            valuation_asset=kind.valuation_asset, **more)  # fmt: skip
            for bucket in kind.buckets:
                yield self._put(
                    "transfers", name, transfer_id=f"t-{name}-{bucket}", account=name, bucket=bucket, asset=kind.asset,
                    amount=kind.weak if falls else kind.strong, reason="deposit",
                )  # fmt: skip
        yield from self._fills(range(PARTS // 2))

    def meanwhile(self) -> Iterator[Put]:
        """The other half of the fills."""
        yield from self._fills(range(PARTS // 2, PARTS))

    def fall(self) -> Iterator[Put]:
        for name in FALLING:
            yield self._price(name, mark_price=str(MARKS[name] * AFTER_FALL))

    def _reference(self) -> Iterator[Put]:
        common: dict[str, Any] = {"contract": "linear", "settlement_asset": "USDT", "max_price_age_ms": AGE_MS}
        common["margin_tiers"] = [
            {"notional_floor": "0", "initial_margin_rate": "0.01", "maintenance_margin_rate": "0.005"}
        ]
        for name, underlying in (("ETH-PERP", "ETH"), ("SOL-PERP", "SOL")):
            yield self._put("instruments", name, instrument=name, kind="perpetual", underlying=underlying, **common)
        inverse = {"contract": "inverse", "settlement_asset": "BTC", "contract_size": "100"}
        yield self._put(
            "instruments", "BTC-USD", instrument="BTC-USD", kind="perpetual", underlying="BTC", **common | inverse
        )
        weights = [{"floor": "0", "weight": "0.9"}]
        yield self._put(
            "collateral", "BTC", asset="BTC", price_instrument="BTC-USDT", weight_tiers=weights, max_price_age_ms=AGE_MS
        )
        for name, mark in MARKS.items():
            yield self._price(name, mark_price=str(mark))

    def _fills(self, parts: range) -> Iterator[Put]:
        for part in parts:
            for name, kind, _ in self._accounts:
                for instrument, quantity, price in kind.positions:
                    yield self._put(
                        "fills", name, fill_id=f"f-{name}-{instrument}-{part}", account=name, instrument=instrument,
                        side="buy" if quantity > 0 else "sell", quantity=str(abs(quantity) / PARTS), price=str(price),
                    )  # fmt: skip

    def _price(self, name: str, **value: Any) -> Put:
        return self._put("prices", name, instrument=name, source="venue", **value)

    def _put(self, topic: str, key: str, **value: Any) -> Put:
        return topic, key, {"ts_ms": self._now_ms} | value
