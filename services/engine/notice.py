"""What a coming rise of a multiplier will do: the notional of buckets that it would make liquidatable, known before it takes effect.

For people, at the marks of the moment: decides nothing, and nothing of it is an effect. The work is bounded: a slice of the holders
is looked at when the record is read, and another with every timer; `unchecked` says how many are still to come.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from msgspec import Struct, structs

from services.contracts.decimals import parse
from services.contracts.messages import RiskParameters
from services.engine.context import Context
from services.engine.doubts import Judge
from services.engine.market import Multiplier
from services.engine.pieces import TOUCH, Pace, Steps, one_by_one
from services.engine.search import Search
from services.engine.state import Account, Bucket
from services.engine.valuation import Valuation
from services.engine.valuer import Valuer
from services.engine.worth import E36

SLICE: Final = 64  # accounts that are valued at a time
VALUED: Final = 150  # microseconds of one


class ComingRise(Struct):
    """A rise that was published and does not hold yet. `notional` e18 of the settlement asset, multipliers e18."""

    instrument: str
    effective_ms: int
    before: int
    after: int
    waiting: dict[str, None]  # accounts
    notional: int = 0
    buckets: int = 0

    @property
    def unchecked(self) -> int:
        return len(self.waiting)


class Notices:
    """Follows the records of `risk-parameters` that are not in force yet."""

    def __init__(self, context: Context, valuer: Valuer, judge: Judge, search: Search) -> None:
        self._context = context
        self._valuer = valuer
        self._judge = judge
        self._search = search
        self._rises: list[ComingRise] = []  # in order of arrival

    def rises(self) -> list[ComingRise]:
        """Those that are still to come."""
        now_ms = self._context.time_ms
        self._rises = [each for each in self._rises if each.effective_ms > now_ms]
        return self._rises

    def read(self, message: RiskParameters) -> None:
        """A record: if it will raise the multiplier above what holds by then, its buckets are looked at."""
        if message.effective_ms <= self._context.time_ms:
            return
        earlier = [
            r.after
            for r in self.rises()
            if r.instrument == message.instrument and r.effective_ms <= message.effective_ms
        ]
        before, after = max([self._context.market.multiplier(message.instrument), *earlier]), parse(message.multiplier)
        if after > before:
            rise = ComingRise(message.instrument, message.effective_ms, before, after, {})
            self._rises.append(rise)
            self._context.later.append(partial(self._gather, rise))

    def _gather(self, rise: ComingRise, pace: Pace) -> Steps:
        def note(name: str) -> None:
            rise.waiting[name] = None

        yield from one_by_one(self._search.holders(rise.instrument), note, TOUCH, pace)
        yield from self.look(pace)

    def look(self, pace: Pace) -> Steps:
        """Value the next slice, of the rise that takes effect first."""
        for rise in sorted(self.rises(), key=lambda rise: rise.effective_ms):
            if rise.waiting:
                chosen = [rise.waiting.popitem()[0] for _ in range(min(SLICE, len(rise.waiting)))]
                yield from one_by_one(chosen, partial(self._look_at, rise), VALUED, pace)
                return

    def _look_at(self, rise: ComingRise, name: str) -> None:
        account = self._context.accounts.look(name)
        for bucket in [] if account is None else account.buckets.values():
            if account is not None and any(key[0] == rise.instrument for key in bucket.positions):
                self._note(rise, account, bucket)

    def _note(self, rise: ComingRise, account: Account, bucket: Bucket) -> None:
        if account.margin_mode == "portfolio" or self._liquidatable(rise, rise.before, account, bucket) is not None:
            return
        valuation = self._liquidatable(rise, rise.after, account, bucket)
        if valuation is not None:
            held = sum(leg.notional for leg in valuation.legs if leg.key[0] == rise.instrument)
            rise.notional += -(-held // (E36 * valuation.divisor))
            rise.buckets += 1

    def _liquidatable(self, rise: ComingRise, multiplier: int, account: Account, bucket: Bucket) -> Valuation | None:
        """The valuation under a multiplier, if the bucket is liquidatable then."""
        with self._supposed(rise.instrument, multiplier):
            valuation = self._valuer.value_bucket(account, bucket, self._context.now_of(account))
            under = isinstance(valuation, Valuation) and self._judge.breaches(account, valuation)
        return valuation if under and isinstance(valuation, Valuation) else None

    @contextmanager
    def _supposed(self, instrument: str, value: int) -> Iterator[None]:
        """The market as it would be under another multiplier of the instrument."""
        multipliers = self._context.market.multipliers
        present = multipliers.get(instrument)
        multipliers[instrument] = (
            Multiplier(value, None, 0, (0, 0)) if present is None else structs.replace(present, value=value)
        )
        try:
            yield
        finally:
            if present is None:
                del multipliers[instrument]
            else:
                multipliers[instrument] = present
