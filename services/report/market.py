"""Marks, index prices and orders by instrument over time."""

from typing import Any, Final

from msgspec import Struct

from services.contracts.messages import Instrument, Order, Price
from services.report.grid import Extremes, Grid, Sums

FOLLOWED: Final = 128  # price ids whose path is kept
SHOWN: Final = 40  # of these on the page: those with orders first, then those with most ticks


class Track(Struct, kw_only=True):
    """One price id. Notional is in the settlement asset."""

    mark: Extremes
    index: Extremes
    sold: Sums
    bought: Sums
    count: Sums
    ticks: int = 0
    orders: int = 0
    newest: float | None = None


class Timeline:
    """Folded from the records of `instruments` and `prices`, and from the orders that are decided."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._tracks: dict[str, Track] = {}
        self._specs: dict[str, Instrument] = {}
        self._left_out: set[str] = set()
        self._count = Sums(grid)

    def listed(self, instrument: Instrument) -> None:
        self._specs[instrument.instrument] = instrument

    def price(self, place: int, price: Price) -> None:
        track = self._track(price.instrument, wanted=False)
        if track is None:
            return
        track.ticks += 1
        if price.mark_price is not None:
            track.newest = float(price.mark_price)
            track.mark.add(place, track.newest)
        if price.index_price is not None:
            track.index.add(place, float(price.index_price))

    def order(self, place: int, order: Order, notional: float) -> None:
        """Counts an order of that notional."""
        track = self._track(order.instrument, wanted=True)
        assert track is not None, "an instrument with orders is always followed"
        track.orders += 1
        track.count.add(place, 1)
        self._count.add(place, 1)
        (track.sold if order.side == "sell" else track.bought).add(place, notional)

    def notional(self, order: Order) -> float:
        """What the order is worth at its mark, in the settlement asset."""
        spec, mark = self._specs.get(order.instrument), float(order.mark_price)
        size = float(order.quantity) * float((spec and spec.contract_size) or "1")
        if spec is not None and spec.contract == "inverse" and spec.kind != "option":
            return size / mark if mark else 0.0
        return size * mark

    def max_price_move(self, instrument: str) -> float | None:
        """What the instrument's own record says that one tick may move."""
        spec = self._specs.get(instrument)
        return None if spec is None or spec.max_price_move is None else float(spec.max_price_move)

    def max_price_age_ms(self, instrument: str) -> int | None:
        spec = self._specs.get(instrument)
        return None if spec is None else spec.max_price_age_ms

    def _track(self, name: str, *, wanted: bool) -> Track | None:
        track = self._tracks.get(name)
        if track is None and (wanted or len(self._tracks) < FOLLOWED):
            grid = self._grid
            track = self._tracks[name] = Track(
                mark=Extremes(grid), index=Extremes(grid), sold=Sums(grid), bought=Sums(grid), count=Sums(grid)
            )
        elif track is None and len(self._left_out) < FOLLOWED:
            self._left_out.add(name)
        return track

    def payload(self) -> dict[str, Any]:
        chosen = sorted(self._tracks, key=lambda name: (-self._tracks[name].orders, -self._tracks[name].ticks, name))
        left_out = len(self._left_out) + max(0, len(chosen) - SHOWN)
        return {
            "instruments": [self._instrument(name) for name in chosen[:SHOWN]],
            "left_out": left_out,
            "orders": self._count.payload(),
        }

    def _instrument(self, name: str) -> dict[str, Any]:
        track, spec = self._tracks[name], self._specs.get(name)
        return {
            "name": name,
            "kind": "price id" if spec is None else f"{spec.contract} {spec.kind}",
            "settlement_asset": None if spec is None else spec.settlement_asset,
            "ticks": track.ticks,
            "orders": track.orders,
            "mark": track.mark.payload(),
            "index": track.index.payload(),
            "sold": track.sold.payload(),
            "bought": track.bought.payload(),
            "count": track.count.payload(),
        }
