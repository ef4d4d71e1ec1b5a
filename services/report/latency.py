"""How late things were: prices on their way in, orders on their way out, answers on their way back."""

from collections import OrderedDict
from typing import Any, Final

from services.contracts.messages import TERMINAL, Order, OrderEvent, Price
from services.contracts.records import Record
from services.report.grid import Extremes, Grid
from services.report.quantiles import Quantiles

REMEMBERED: Final = 50_000  # price records whose time can be looked up
AWAITED: Final = 10_000  # recorded orders whose answer can be timed


class Delay:
    """One kind of delay in milliseconds: its quantiles, and its extremes over time."""

    def __init__(self, grid: Grid) -> None:
        self._quantiles = Quantiles()
        self._series = Extremes(grid)

    def add(self, place: int, delay_ms: int) -> None:
        self._quantiles.add(delay_ms)
        self._series.add(place, delay_ms)

    def payload(self) -> dict[str, Any] | None:
        figures = self._quantiles.payload()
        return None if figures is None else {"figures": figures, "series": self._series.payload()}


class Delays:
    """Told every price, every decided order and every recorded order and answer."""

    def __init__(self, grid: Grid) -> None:
        self._price_times: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._sent: OrderedDict[str, int] = OrderedDict()
        self._delays = {name: Delay(grid) for name in ("feed", "decision", "order", "answer")}

    def price(self, place: int, record: Record, price: Price) -> None:
        """From the source's time to the broker's."""
        if len(self._price_times) >= REMEMBERED:
            self._price_times.popitem(last=False)
        self._price_times[record.partition, record.offset] = record.timestamp_ms
        self._delays["feed"].add(place, record.timestamp_ms - price.ts_ms)

    def decided(self, place: int, order: Order) -> None:
        """The age of the mark of the order's own instrument when the order was decided."""
        told = self._time_of((order.evidence.prices or {}).get(order.instrument))
        if told is not None:
            self._delays["decision"].add(place, max(0, order.ts_ms - told))

    def recorded_order(self, place: int, record: Record, order: Order) -> None:
        """From the newest price that a recorded order rests on to the order, both by the broker's clock."""
        times = [time for each in (order.evidence.prices or {}).values() if (time := self._time_of(each)) is not None]
        if times and order.attempt == 1:
            self._delays["order"].add(place, max(0, record.timestamp_ms - max(times)))
        if len(self._sent) >= AWAITED:
            self._sent.popitem(last=False)
        self._sent.setdefault(order.order_id, record.timestamp_ms)

    def recorded_answer(self, place: int, record: Record, event: OrderEvent) -> None:
        """From a recorded order to the event that ends it."""
        if event.status in TERMINAL and (sent_ms := self._sent.pop(event.order_id, None)) is not None:
            self._delays["answer"].add(place, max(0, record.timestamp_ms - sent_ms))

    def payload(self) -> dict[str, Any]:
        return {name: delay.payload() for name, delay in self._delays.items()}

    def _time_of(self, place: list[int] | None) -> int | None:
        return None if place is None else self._price_times.get((place[0], place[1]))
