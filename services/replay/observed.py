"""The reference with the figures that a replay sums up: it is asked for every bucket's equity after every input."""

from collections.abc import Callable, Iterator

from services.contracts.decimals import parse, to_text
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Effect
from services.engine.quiet import Ticks
from services.reference.reference import Reference


class ObservedReference:
    """A `ReplayEngine` around the reference. Slow on purpose: nothing is remembered between inputs."""

    def __init__(self, reference: Reference, *, observe: bool) -> None:
        self._reference = reference
        self._observe = observe
        self._lowest: tuple[int, str] | None = None
        self._listener: Callable[[tuple[str, str], int], None] | None = None
        self.negative_buckets: set[tuple[str, str]] = set()

    def apply(self, record: Record) -> list[Effect]:
        return self._observed(self._reference.apply(record))

    def fold_quiet(self, ticks: Ticks, at: int, before_ms: float) -> int:  # noqa: ARG002 - every record is looked at
        return at

    def timer(self, time_ms: int) -> list[Effect]:
        return self._observed(self._reference.timer(time_ms))

    def next_timer_ms(self) -> int | None:
        return self._reference.next_timer_ms()

    def buckets(self) -> Iterator[BucketView]:
        return self._reference.buckets()

    def view(self, account: str, bucket: str) -> BucketView | None:
        return next((view for view in self.buckets() if (view.account, view.bucket) == (account, bucket)), None)

    def equity(self, account: str, bucket: str) -> int | None:
        view = self.view(account, bucket)
        return None if view is None or view.equity is None else parse(view.equity)

    def watch_equities(self, listener: Callable[[tuple[str, str], int], None]) -> None:
        self._listener = listener

    def places(self) -> Iterator[tuple[str, str]]:
        return ((view.account, view.bucket) for view in self._reference.buckets())

    def state_hash(self) -> str:
        return self._reference.state_hash()

    @property
    def lowest_equity(self) -> str | None:
        return None if self._lowest is None else to_text(self._lowest[0])

    @property
    def lowest_equity_bucket(self) -> str | None:
        return None if self._lowest is None else self._lowest[1]

    def _observed(self, effects: list[Effect]) -> list[Effect]:
        for view in self._reference.buckets() if self._observe else ():
            if view.equity is None:
                continue
            equity = parse(view.equity)
            if self._listener is not None:
                self._listener((view.account, view.bucket), equity)
            if self._lowest is None or equity < self._lowest[0]:
                self._lowest = equity, f"{view.account}|{view.bucket}"
            if equity < 0:
                self.negative_buckets.add((view.account, view.bucket))
        return effects
