"""What the market says: instruments, collateral, multipliers, halts and the price book, as one view for valuation."""

from collections.abc import Mapping
from math import isqrt
from typing import Final, Protocol

from msgspec import Struct

from services.contracts.decimals import ONE
from services.contracts.messages import Instrument
from services.engine.instruments import Asset, Spec
from services.engine.prices import Limits, PriceBook
from services.engine.settings import Settings


class Marks(Protocol):
    """Price id to mark, e18."""

    def get(self, price_id: str, /) -> int | None: ...


class Overlay:
    """Marks with some of them replaced: for roots, and for the corner of an interval."""

    __slots__ = ("_base", "_replaced")

    def __init__(self, base: Marks, replaced: Mapping[str, int]) -> None:
        self._base = base
        self._replaced = replaced

    def get(self, price_id: str, /) -> int | None:
        found = self._replaced.get(price_id)
        return self._base.get(price_id) if found is None else found


class Multiplier(Struct, frozen=True):
    """A live margin multiplier (e18), the variance per second behind it (e18), and its record's place."""

    value: int
    variance: int | None
    effective_ms: int
    offset: tuple[int, int]


class Market:
    """Reference data and prices: the same for every account, changed only by broadcast records."""

    def __init__(self, settings: Settings) -> None:
        self.specs: dict[str, Spec] = {}
        self.messages: dict[str, Instrument] = {}
        self.assets: dict[str, Asset] = {}
        self.book = PriceBook(settings)
        self.multipliers: dict[str, Multiplier] = {}
        self.halted: set[str] = set()
        self.halted_all = False
        self.halted_accounts: set[str] = set()
        self.places: dict[str, tuple[int, int]] = {}  # broadcast topic -> partition, offset applied last
        self._default_sigma: Final = settings.default_sigma

    @property
    def marks(self) -> Marks:
        return self.book.marks

    def multiplier(self, instrument: str) -> int:
        found = self.multipliers.get(instrument)
        return ONE if found is None else found.value

    def sigma(self, instrument: str) -> int:
        """Relative move per square root of a second, e18."""
        found = self.multipliers.get(instrument)
        if found is None or found.variance is None:
            return self._default_sigma
        return isqrt(found.variance * ONE)

    def price_id_of(self, asset: str, valuation_asset: str) -> str | None:
        """The price id that values `asset`; None where its price is 1 by definition."""
        record = self.assets.get(asset)
        return None if asset == valuation_asset or record is None else record.price_instrument

    def refresh_limits(self, price_id: str) -> None:
        """An instrument's own limits hold for its id; else the strictest of the collateral that it prices."""
        spec = self.specs.get(price_id)
        if spec is not None:
            self.book.limits[price_id] = Limits(spec.max_price_age_ms, spec.max_price_move, spec.option is not None)
            return
        priced = [asset for asset in self.assets.values() if asset.price_instrument == price_id]
        ages = [asset.max_price_age_ms for asset in priced if asset.max_price_age_ms is not None]
        moves = [asset.max_price_move for asset in priced if asset.max_price_move is not None]
        self.book.limits[price_id] = Limits(min(ages, default=None), min(moves, default=None))

    def grade(self, price_id: str, now_ms: int) -> str:
        """The price's grade with halts: engine.md "Price grades"."""
        spec = self.specs.get(price_id)
        if self.halted_all or price_id in self.halted or (spec is not None and spec.status == "halted"):
            return "halted"
        return self.book.grade(price_id, now_ms)
