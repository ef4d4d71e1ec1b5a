"""Crowds of plain accounts: many buckets that the index can enclose in boxes, near enough to their thresholds to leave them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from services.contracts.records import Record
from services.engine.glance import Glance, glances
from services.engine.resting import encode_resting, resting_of
from services.engine.state import Account

INSTRUMENTS = ("A", "B", "C")
TIERS = [
    {"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"},
    {"notional_floor": "3000", "initial_margin_rate": "0.05", "maintenance_margin_rate": "0.025"},
]


class Crowd:
    """Records of a venue with many plain accounts, drawn from a seed."""

    def __init__(
        self, dice: random.Random, accounts: int, most_leverage: float = 45, trading: float = 0.1, odd: float = 0.0
    ) -> None:
        """`trading`: the chance of a fill beside a tick; `odd`: of a fill that is none like the others. With odd ones, some accounts number."""
        self._dice = dice
        self._accounts = accounts
        self._most_leverage = most_leverage
        self._trading = trading
        self._odd = odd
        self._numbers: dict[str, int] = {}
        self._told: list[dict[str, Any]] = []
        self._offsets: dict[str, int] = {}
        self._marks = dict.fromkeys(INSTRUMENTS, 1000.0)
        self._time_ms = 1_000

    def records(self, ticks: int) -> Iterator[Record]:
        for name in INSTRUMENTS:
            fee = {"close_fee_basis": "mark"} if name == "C" else {}
            yield self._record("instruments", {
                "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": name, "settlement_asset": "USDT",
                "margin_tiers": TIERS, "taker_fee_rate": "0.0005", "lot_size": "0.01", "insurance_pool": "pool", **fee,
            })  # fmt: skip
            yield self._tick(name, 0.0)
        for number in range(self._accounts):
            yield from self._opened(number)
        for _ in range(ticks):
            yield from self._step()

    def _opened(self, number: int) -> Iterator[Record]:
        dice, name = self._dice, f"a{number}"
        isolated = dice.random() < 0.3
        yield self._record(
            "accounts", {"account": name, "margin_mode": "isolated" if isolated else "cross", "valuation_asset": "USDT"}
        )
        for instrument in dice.sample(INSTRUMENTS, dice.choice((1, 2, 3))):
            quantity, leverage = dice.choice((1, 2, 4)), dice.uniform(3, self._most_leverage)
            bucket = instrument if isolated else "main"
            yield self._record("transfers", {
                "transfer_id": f"t{name}{instrument}", "account": name, "bucket": bucket, "asset": "USDT",
                "amount": f"{quantity * 1000 / leverage:.2f}", "reason": "deposit",
            })  # fmt: skip
            yield self._fill(name, instrument, dice.choice(("buy", "sell")), str(quantity))

    def _step(self) -> Iterator[Record]:
        dice = self._dice
        self._time_ms += dice.choice((10, 100, 1_000))
        shock = dice.choice((0.0, 0.0, 0.0, -0.02, 0.015)) if dice.random() < 0.2 else 0.0
        yield self._tick(dice.choice(INSTRUMENTS), shock)
        while dice.random() < self._trading:
            yield from self._traded(f"a{dice.randrange(self._accounts)}")
        if dice.random() < 0.03:
            yield self._record("risk-parameters", {
                "instrument": dice.choice(INSTRUMENTS), "multiplier": f"{dice.uniform(1, 1.3):.3f}", "variance": "0.00000004",
                "effective_ms": self._time_ms + 50,
            })  # fmt: skip
        if dice.random() < 0.02:
            yield self._record("collateral", {"asset": "USDT"})

    def _traded(self, name: str) -> Iterator[Record]:
        """A fill as a rule, of which now and then a part of the account's money comes or goes."""
        dice = self._dice
        yield self._fill(
            name, dice.choice(INSTRUMENTS), dice.choice(("buy", "sell")), dice.choice(("0.5", "0.5", "1", "2"))
        )
        if dice.random() < 0.1:
            yield self._record("transfers", {
                "transfer_id": f"t{self._offsets['transfers']}", "account": name, "asset": "USDT",
                "amount": dice.choice(("20", "60", "-15", "-40")), "reason": "adjustment",
            })  # fmt: skip

    def _tick(self, name: str, shock: float) -> Record:
        self._marks[name] *= 1 + shock + self._dice.gauss(0, 0.0015)
        return self._record("prices", {"instrument": name, "mark_price": f"{self._marks[name]:.4f}", "source": "venue"})

    def _fill(self, account: str, instrument: str, side: str, quantity: str) -> Record:
        number = self._offsets.get("fills", -1) + 1
        value: dict[str, Any] = {
            "ts_ms": self._time_ms, "fill_id": f"f{number}", "account": account, "instrument": instrument, "side": side,
            "quantity": quantity, "price": f"{self._marks[instrument]:.4f}",
        }  # fmt: skip
        if self._odd and account.endswith(("0", "4", "7")):
            value["account_sequence"] = self._numbers[account] = self._numbers.get(account, 0) + 1
        if self._dice.random() < self._odd:
            value |= self._oddity(value)
        self._told.append(value)
        return self._record("fills", value)

    def _oddity(self, value: dict[str, Any]) -> dict[str, Any]:
        """What makes a fill one that something may follow from, or that is not to be entered."""
        dice, number = self._dice, value.get("account_sequence", 1)
        return dice.choice([
            {"fee": "0.01"}, {"fee": "-0.002", "fee_asset": "USDT"}, {"fee": "0.001", "fee_asset": "BNB"}, {"fee": "0"},
            {"account_sequence": number + 2}, {"account_sequence": max(1, number - 1)}, {"position_side": "long"}, {"instrument": "D"},
            {"order_id": "theirs"}, {"order_id": "ours", "exec_type": "liquidation"}, {"quantity": "0"}, {"side": "sideways"},
            {"bucket": "other"}, {"price": "0", "exec_type": "settlement"}, dice.choice(self._told), {"fill_id": dice.choice(self._told)["fill_id"]},
        ] if self._told else [{"fee": "0.01"}])  # fmt: skip

    def _record(self, topic: str, value: dict[str, Any]) -> Record:
        self._offsets[topic] = self._offsets.get(topic, -1) + 1
        raw = json.dumps({"ts_ms": self._time_ms} | value).encode()
        return Record(
            topic=topic, partition=0, offset=self._offsets[topic], timestamp_ms=self._time_ms, key=None, value=raw
        )


def glanced(accounts: Iterable[Account]) -> list[Glance]:
    """What would be seen of them if they rested."""
    return [each for seen in glances([encode_resting(resting_of(account)) for account in accounts]) for each in seen]
