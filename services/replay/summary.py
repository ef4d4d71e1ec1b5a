"""What a replay amounts to: the counts and figures of its last line."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from services.contracts.decimals import parse, to_text
from services.contracts.messages import Default, Order
from services.engine.effects import DeadLetter, Effect, Emit
from services.replay.engines import ReplayEngine


class Summary(Struct, frozen=True, kw_only=True):
    """The summary line, keys in order. `lowest_equity` is in the valuation asset of `lowest_equity_bucket`; seconds to 1e-3."""

    records: int
    accounts: int
    buckets: int
    orders: int
    liquidated_buckets: int
    negative_buckets: int
    lowest_equity: str | None
    lowest_equity_bucket: str | None
    deficit: dict[str, str]
    dead_letters: int
    state_hash: str
    elapsed_s: str
    records_per_s: str
    backtest: dict[str, dict[str, Any]] | None = None  # by instrument, only where it was asked for

    def line(self, variant: Mapping[str, str] | None = None) -> dict[str, Any]:
        """As printed by `--json`; a what-if run says last what it changed."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.backtest is None:
            del fields["backtest"]
        return {"effect": "summary", **fields} | ({} if variant is None else {"variant": dict(variant)})


class Tally:
    """Counts effects as they come by."""

    def __init__(self) -> None:
        self.records = 0
        self.dead_letters = 0
        self._orders: set[str] = set()
        self._liquidated: set[tuple[str, str]] = set()
        self._deficits: dict[str, tuple[str, int]] = {}

    @property
    def orders(self) -> int:
        """How many distinct ids."""
        return len(self._orders)

    def count(self, effect: Effect) -> None:
        match effect:
            case DeadLetter():
                self.dead_letters += 1
            case Emit(message=Order() as order):
                self._orders.add(order.order_id)
                self._liquidated.add((order.account, order.bucket))
            case Emit(message=Default() as default):
                self._deficits[default.default_id] = (default.asset, parse(default.deficit))
            case _:
                pass

    def deficit(self) -> dict[str, str]:
        """Asset to the sum of what is missing, by asset; a default that is told twice counts once."""
        totals: dict[str, int] = {}
        for asset, amount in self._deficits.values():
            totals[asset] = totals.get(asset, 0) + amount
        return {asset: to_text(totals[asset]) for asset in sorted(totals)}

    def summary(
        self, engine: ReplayEngine, elapsed_s: float, backtest: dict[str, dict[str, Any]] | None = None
    ) -> Summary:
        """The figures at the end of the run; `elapsed_s` is what it took."""
        places = list(engine.places())
        return Summary(
            records=self.records,
            accounts=len({account for account, _ in places}),
            buckets=len(places),
            orders=self.orders,
            liquidated_buckets=len(self._liquidated),
            negative_buckets=len(engine.negative_buckets),
            lowest_equity=engine.lowest_equity,
            lowest_equity_bucket=engine.lowest_equity_bucket,
            deficit=self.deficit(),
            dead_letters=self.dead_letters,
            state_hash=engine.state_hash(),
            elapsed_s=measured(elapsed_s, places=3),
            records_per_s=measured(self.records / elapsed_s if elapsed_s > 0 else 0, places=0),
            backtest=backtest,
        )


def measured(value: float, *, places: int) -> str:
    """A measured figure in plain notation without trailing zeros."""
    text = f"{Decimal(value):.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
