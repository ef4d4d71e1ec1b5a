"""Variants side by side: what each ordered, and when it first did something else than the recording as it is."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from services.contracts.codec import decode
from services.contracts.decimals import ONE, to_text
from services.contracts.messages import Instrument, Message, Order
from services.contracts.records import Record
from services.engine.effects import Cause, Effect, Emit
from services.replay.market import Market


class FirstDifference(Struct, frozen=True):
    """The first message that one of the two runs wrote and the other did not."""

    ts_ms: int | None
    cause: Cause
    account: str | None
    what: str

    def line(self) -> dict[str, Any]:
        cause = [self.cause.topic, self.cause.partition, self.cause.offset]
        return {"ts_ms": self.ts_ms, "cause": cause, "account": self.account, "what": self.what}


class Ordered:
    """What one run's orders amount to, in each settlement asset at their marks."""

    def __init__(self) -> None:
        self._market = Market()
        self._known: set[str] = set()
        self._notional: dict[str, int] = {}

    def saw(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.topic == "instruments" and isinstance(message := decode(record.topic, record.value), Instrument):
                self._market.saw(message)

    def decided(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Emit) and isinstance(effect.message, Order):
                self._count(effect.message)

    def notional(self) -> dict[str, str]:
        """Asset to amount, each order counted once."""
        return {asset: to_text(amount) for asset, amount in sorted(self._notional.items())}

    def _count(self, order: Order) -> None:
        if order.order_id in self._known:
            return
        self._known.add(order.order_id)
        asset, amount = self._market.notional(order.instrument, order.quantity, order.mark_price)
        self._notional[asset] = self._notional.get(asset, 0) + int(amount * ONE)


class Divergence:
    """Compares two runs effect by effect. Shown what each said to the same records, it stops looking at the first difference."""

    def __init__(self) -> None:
        self.first: FirstDifference | None = None

    def compare(self, base: Sequence[Effect], variant: Sequence[Effect]) -> None:
        if self.first is not None:
            return
        ours = [each for each in base if isinstance(each, Emit)]
        theirs = [each for each in variant if isinstance(each, Emit)]
        for mine, other in zip(ours, theirs, strict=False):
            if mine.message != other.message:
                self.first = min(_said(mine, "only as recorded"), _said(other, "only here"), key=_when)
                return
        if len(ours) > len(theirs):
            self.first = _said(ours[len(theirs)], "only as recorded")
        elif len(theirs) > len(ours):
            self.first = _said(theirs[len(ours)], "only here")


def _said(effect: Emit, whose: str) -> FirstDifference:
    message: Message = effect.message
    return FirstDifference(
        getattr(message, "ts_ms", None), effect.cause, getattr(message, "account", None), f"{effect.topic}, {whose}"
    )


def _when(difference: FirstDifference) -> int:
    return difference.ts_ms or 0
