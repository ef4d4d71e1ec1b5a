"""Generated histories over every account model, and a venue that answers orders: what property tests drive engines with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import orjson

from services.contracts.codec import encode
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.effects import Alarm, DeadLetter, Effect, Emit

START_MS = 1_700_000_000_000
EXPLANATIONS = frozenset({"evidence", "detail"})  # for people: not part of what two implementations agree on


@dataclass
class Event:
    """One record to come: its broker time and its value."""

    topic: str
    time_ms: int
    value: dict[str, Any]

    @property
    def account(self) -> str | None:
        return self.value.get("account")


class Drivable(Protocol):
    """The face of an engine that a history needs."""

    def apply(self, record: Record) -> list[Effect]: ...
    def timer(self, time_ms: int) -> list[Effect]: ...
    def next_timer_ms(self) -> int | None: ...


@dataclass
class History:
    """A venue's records in order of arrival."""

    events: list[Event] = field(default_factory=list)

    def for_accounts(self, chosen: Callable[[str], bool]) -> History:
        """The same history as a worker that owns only some accounts reads it."""
        return History([event for event in self.events if event.account is None or chosen(event.account)])


class _Maker:
    """Draws a history; every choice goes through one `random.Random`, so that hypothesis can steer and shrink it."""

    def __init__(self, draw: random.Random, *, classes: bool, options: bool) -> None:
        self.draw = draw
        self.classes = classes
        self.options = options
        self.option_names: list[str] = []
        self.now = START_MS
        self.history = History()
        self.marks = {"BTC-USDT": 1000.0, "ETH-USDT": 500.0}
        self.instruments: list[tuple[str, bool]] = []
        self.accounts: list[tuple[str, str]] = []
        self.count = 0

    def put(self, topic: str, **value: Any) -> None:
        self.count += 1
        self.history.events.append(Event(topic, self.now, {"ts_ms": self.now} | value))

    def instrument(self, number: int) -> None:
        pick, inverse = self.draw.choice, self.draw.random() < 0.3
        name = f"I{number}-PERP"
        tiers = [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}]
        if self.draw.random() < 0.6:
            floor = "5" if inverse else "5000"
            tiers.append({"notional_floor": floor, "initial_margin_rate": "0.05", "maintenance_margin_rate": "0.025"})
        self.instruments.append((name, inverse))
        self.marks[name] = 1000.0
        self.put(
            "instruments", instrument=name, kind="perpetual", contract="inverse" if inverse else "linear", underlying="BTC",
            settlement_asset=pick(["BTC", "ETH"]) if inverse else "USDT", contract_size="100" if inverse else "1",
            margin_tiers=tiers, taker_fee_rate=pick(["0", "0.0005"]), close_fee_basis=pick([None, None, "mark", "bankruptcy"]),
            maintenance_basis=pick([None, None, "entry"]), tier_boundary=pick([None, "lower"]),
            insurance_pool=pick([None, "pool"]), lot_size=pick([None, "0.01", "1"]), tick_size=pick([None, "0.5"]),
            max_price_age_ms=pick([None, 3000]), max_price_move=pick([None, "0.05"]),
            max_order_quantity=pick([None, None, "3"]), min_order_quantity=pick([None, None, "0.5"]),
        )  # fmt: skip

    def reference_data(self) -> None:
        pick = self.draw.choice
        for number in range(self.draw.randint(1, 4)):
            self.instrument(number)
        for asset in ("BTC", "ETH"):
            tiered = [{"floor": "0", "weight": "0.9"}, {"floor": "2", "weight": "0.7"}]
            self.put(
                "collateral", asset=asset, price_instrument=f"{asset}-USDT", weight_tiers=pick([None, tiered]),
                initial_weight_tiers=pick([None, [{"floor": "0", "weight": "0.5"}]]),
                liability_maintenance_rate=pick([None, "0.05"]),
                conversion_instrument=pick([None, self.instruments[0][0]]),
                **({"hedges": pick([None, asset])} if self.options else {}),
            )  # fmt: skip
        for number in range(self.draw.randint(2, 4) if self.options else 0):
            self.option(number)
        for number in range(self.draw.randint(1, 4)):
            name, mode = (
                f"a{number}",
                pick(["isolated", "cross", "cross", *(["portfolio"] * 4 if self.options else [])]),
            )
            self.accounts.append((name, mode))
            more = {"segregation": pick([None, "client", "house"])} if self.classes else {}
            if mode == "portfolio":
                more["margin_preset"] = pick(["derive-pm1", "derive-pm2", "span-like", "unheard-of"])
            if self.draw.random() < 0.95:
                self.put(
                    "accounts", account=name, client=f"c{number}", margin_mode=mode, valuation_asset="USDT", **more
                )  # fmt: skip

    def option(self, number: int) -> None:
        """Calls and puts around the money of an hour to half a year; some cannot be margined outside portfolio mode."""
        pick, name = self.draw.choice, f"O{number}"
        rates = {"short_initial_rate": "0.15", "short_minimum_rate": "0.1", "short_maintenance_rate": "0.075"}
        self.option_names.append(name)
        self.put(
            "instruments", instrument=name, kind="option", contract="linear", underlying=pick(["BTC", "BTC", "ETH"]),
            settlement_asset="USDT", strike=pick(["900", "1000", "1000", "1150"]), option_type=pick(["call", "put"]),
            expiry_ms=START_MS + pick([10_000, 3_600_000, 86_400_000 * 30, 86_400_000 * 180]), lot_size=pick([None, "0.01"]),
            option_margin=pick([None, rates, rates | {"put_mark_rate": "0.2"}]), tick_size=pick([None, "0.5"]),
            spot_instrument=pick([None, "BTC-USDT"]), taker_fee_rate=pick(["0", "0.0005"]), max_price_age_ms=pick([None, 60_000]),
            max_price_move=pick([None, "0.3"]), insurance_pool=pick([None, "pool"]),
            margin_tiers=[{"notional_floor": "0", "maintenance_margin_rate": "0.01"}],
        )  # fmt: skip
        self.option_price(name)

    def option_step(self) -> None:
        pick, name = self.draw.choice, self.draw.choice(self.option_names)
        if self.draw.random() < 0.6:
            self.option_price(name)
            return
        settles = self.draw.random() < 0.1
        self.put(
            "fills", fill_id=f"f{self.count}", account=pick(self.accounts)[0], instrument=name, side=pick(["buy", "sell", "sell"]),
            quantity=pick(["0.5", "1", "3"]), price="0" if settles else f"{self.draw.uniform(1, 120):.2f}",
            exec_type="settlement" if settles else None,
        )  # fmt: skip

    def option_price(self, name: str) -> None:
        pick = self.draw.choice
        self.put(
            "prices", instrument=name, mark_price=pick([None, f"{self.draw.uniform(0, 150):.2f}", f"{self.draw.uniform(0, 150):.2f}"]),
            index_price=pick([None, f"{self.draw.uniform(850, 1150):.2f}"]), implied_volatility=f"{self.draw.uniform(0.2, 1.5):.4f}",
            interest_rate=pick([None, "0.05", "-0.01"]),
        )  # fmt: skip

    def step(self) -> None:
        self.now += self.draw.choice([0, 1, 50, 100, 400, 2000])
        if self.options and self.draw.random() < 0.3:
            self.option_step()
            return
        kind = self.draw.random()
        if kind < 0.14:
            self.transfer()
        elif kind < 0.32:
            self.fill()
        elif kind < 0.36:
            self.operator()
        else:
            self.price()

    def transfer(self) -> None:
        (account, mode), pick = self.draw.choice(self.accounts), self.draw.choice
        asset = pick(["USDT", "USDT", "BTC", "ETH"])
        bucket = pick([self.draw.choice(self.instruments)[0], None]) if mode == "isolated" else None
        amount = pick(["1", "10", "100", "500", "-5", "-50"]) if asset == "USDT" else pick(["0.1", "1", "-0.2"])
        reason = pick(["deposit", "deposit", "deposit", "adjustment", "funding", "lock", "move"])
        value = {
            "transfer_id": f"t{self.count}",
            "account": account,
            "bucket": bucket,
            "asset": asset,
            "reason": reason,
        }
        if reason in ("lock", "move"):
            amount = amount.lstrip("-")
        if reason == "move":
            value["to_bucket"] = self.draw.choice(self.instruments)[0]
        self.put("transfers", amount=amount, **value)

    def fill(self) -> None:
        account, _ = self.draw.choice(self.accounts)
        name, inverse = self.draw.choice(self.instruments)
        quantity = self.draw.choice(["1", "5", "10"] if inverse else ["0.5", "1", "3", "7.25"])
        self.put(
            "fills", fill_id=f"f{self.count}", account=account, instrument=name, side=self.draw.choice(["buy", "sell"]),
            quantity=quantity, price=f"{self.marks[name]:.2f}", fee=self.draw.choice([None, "0.1", "-0.05"]),
            position_side=self.draw.choice([None, None, None, "long", "short"]),
        )  # fmt: skip

    def operator(self) -> None:
        pick, instrument = self.draw.choice, self.draw.choice(self.instruments)[0]
        account = self.draw.choice(self.accounts)[0]
        if self.draw.random() < 0.5:
            scope, target = pick([("instrument", instrument), ("account", account), ("all", "*")])
            action = pick(["halt", "resume", "resume", "clear"])
            self.put("controls", control_id=f"k{self.count}", scope=scope, target=target, action=action)
            return
        self.put(
            "risk-parameters", instrument=instrument, multiplier=pick(["1", "1.5", "2"]),
            variance=pick([None, "0.00000004"]), effective_ms=self.now + pick([0, 500]),
        )  # fmt: skip

    def price(self) -> None:
        name = self.draw.choice(sorted(self.marks))
        self.marks[name] *= 1 + self.draw.gauss(0, 0.012) * (6 if self.draw.random() < 0.05 else 1)
        self.marks[name] = max(1.0, self.marks[name])
        self.put(
            "prices", instrument=name, mark_price=f"{self.marks[name]:.4f}", source=self.draw.choice(["x", "y", None]),
            index_price=self.draw.choice([None, f"{self.marks[name]:.2f}"]),
        )  # fmt: skip


def make_history(draw: random.Random, steps: int = 60, *, classes: bool = False, options: bool = False) -> History:
    """Reference data, accounts of several models, then transfers, fills, prices, halts and multipliers in disorder.

    `classes`: some accounts are the house's. `options`: portfolio accounts, and options in accounts of every mode. Without them
    the same dice draw the same history as before there were any.
    """
    maker = _Maker(draw, classes=classes, options=options)
    maker.reference_data()
    for _ in range(steps):
        maker.step()
    return maker.history


class Drive:
    """Plays a history to an engine: timers first, orders read back at once, and answered by a venue with its own dice."""

    def __init__(self, engine: Drivable, answers_seed: int | None = 0) -> None:
        self._engine = engine
        self._offsets: dict[str, int] = {}
        self._dice = None if answers_seed is None else random.Random(answers_seed)
        self._unanswered: list[Order] = []
        self.effects: list[Effect] = []

    def play(self, history: History) -> list[Effect]:
        for event in history.events:
            while (due_ms := self._engine.next_timer_ms()) is not None and due_ms <= event.time_ms:
                self._take(self._engine.timer(due_ms))
            self._answer(event.time_ms)
            self.feed(event.topic, event.time_ms, orjson.dumps(event.value))
        # Timers that found nothing to do may have been fired for one engine only: at the end every clock shows the same.
        self._take(self._engine.timer(history.events[-1].time_ms))
        return self.effects

    def feed(self, topic: str, time_ms: int, value: bytes) -> None:
        offset = self._offsets.get(topic, -1) + 1
        self._offsets[topic] = offset
        record = Record(topic=topic, partition=0, offset=offset, timestamp_ms=time_ms, key=None, value=value)
        self._take(self._engine.apply(record))

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Emit) and isinstance(effect.message, Order):
                self.feed(effect.topic, effect.message.ts_ms, encode(effect.message))
                self._unanswered.append(effect.message)

    def _answer(self, time_ms: int) -> None:
        """Half of the orders are filled at their limit, a third expire, the rest hear nothing."""
        while self._dice is not None and self._unanswered and self._dice.random() < 0.6:
            order, luck = self._unanswered.pop(0), self._dice.random()
            filled = order.quantity if luck < 0.5 else "0"
            common = {
                "account": order.account,
                "bucket": order.bucket,
                "instrument": order.instrument,
                "ts_ms": time_ms,
            }
            if luck < 0.5 and order.stage != "convert":
                fill = common | {
                    "fill_id": f"x{order.order_id[:20]}", "position_side": order.position_side, "side": order.side,
                    "quantity": order.quantity, "price": order.limit_price, "order_id": order.order_id,
                    "exec_type": "liquidation",
                }  # fmt: skip
                self.feed("fills", time_ms, orjson.dumps(fill))
            if luck < 0.85:
                status = "filled" if luck < 0.5 else "expired"
                event = common | {
                    "order_id": order.order_id, "attempt": order.attempt, "status": status, "filled_quantity": filled,
                }  # fmt: skip
                self.feed("order-events", time_ms, orjson.dumps(event))


def comparable(effects: list[Effect]) -> Iterator[tuple[object, ...]]:
    """Effects without what is for people only: evidence, details, distances."""
    for effect in effects:
        cause = msgspec.structs.astuple(effect.cause)
        if isinstance(effect, Emit):
            fields = msgspec.to_builtins(effect.message)
            kept = {k: v for k, v in fields.items() if k not in EXPLANATIONS and not k.startswith("distance_")}
            yield cause, effect.topic, effect.key, effect.partition, tuple(sorted(kept.items()))
        elif isinstance(effect, Alarm):
            yield cause, effect.name, effect.account, effect.bucket, effect.instrument, effect.ts_ms
        else:
            assert isinstance(effect, DeadLetter)
            yield cause, effect.refusal.reason
