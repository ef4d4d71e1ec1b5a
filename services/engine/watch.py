"""What a replay reports of the whole run: the lowest equity of any bucket at any time, and which were ever negative."""

from collections.abc import Callable

from services.contracts.decimals import to_text
from services.engine.state import BucketKey


class EquityWatch:
    """Fed with every reviewed equity, e18 towards minus infinity."""

    def __init__(self) -> None:
        self.lowest_e18: int | None = None
        self._lowest_bucket: BucketKey | None = None
        self.negative: set[BucketKey] = set()
        self.listener: Callable[[BucketKey, int], None] | None = None  # told every equity that is noted

    def note(self, key: BucketKey, equity_e18: int) -> None:
        if self.listener is not None:
            self.listener(key, equity_e18)
        if self.lowest_e18 is None or equity_e18 < self.lowest_e18:
            self.lowest_e18, self._lowest_bucket = equity_e18, key
        if equity_e18 < 0:
            self.negative.add(key)

    @property
    def lowest_equity(self) -> str | None:
        return None if self.lowest_e18 is None else to_text(self.lowest_e18)

    @property
    def lowest_equity_bucket(self) -> str | None:
        return None if self._lowest_bucket is None else "|".join(self._lowest_bucket)
