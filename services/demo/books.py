"""The venue's own ledger, kept beside the monitor and never shown to it: who went negative, and why.

Exact integers of 1e-18; a float64 column screens which buckets a tick can have harmed, the integers decide. It knows linear
contracts of size 1 that settle in the valuation asset, which is all that the simulated venue lists.
"""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from services.contracts.decimals import ONE, floor_div, parse
from services.contracts.messages import Fill, Instrument, Transfer
from services.demo.margin import Tiers

REFRESH_TICKS: Final = 256  # float errors of the incremental screen are wiped out this often
TOLERANCE: Final = 1e-3  # far above those errors, in units of the valuation asset
GROWTH: Final = 1024
LOCKS: Final = ("lock", "unlock")

Key = tuple[str, str]  # account, bucket
Cause = Literal["gap", "late", "fill"]


class Negative(Struct, frozen=True, kw_only=True):
    """The first moment at which a bucket's equity was below zero. Amounts are e18.

    `gap`: one tick took it from above its maintenance margin to below zero; no monitor could have acted in between.
    `late`: it was liquidatable, and a later tick took it below zero. `fill`: an execution did.
    """

    account: str
    bucket: str
    instrument: str
    cause: Cause
    equity: int
    equity_before: int
    maintenance_before: int
    mark_before: int
    mark: int


class Bucket:
    """One ring-fenced balance with its positions."""

    __slots__ = ("account", "balance", "name", "positions", "row")

    def __init__(self, account: str, name: str, row: int) -> None:
        self.account, self.name, self.row = account, name, row
        self.balance = 0  # e18
        self.positions: dict[str, int] = {}  # instrument -> signed quantity, e18

    @property
    def key(self) -> Key:
        return self.account, self.name


class Books:
    """Every bucket of the venue, valued at the marks that the venue published."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._tiers = {name: Tiers(instrument) for name, instrument in instruments.items()}
        self._columns = {name: column for column, name in enumerate(instruments)}
        self._isolated: dict[str, bool] = {}
        self._rows: list[Bucket] = []
        self.buckets: dict[Key, Bucket] = {}
        self.marks: dict[str, int] = {}
        self.negatives: dict[Key, Negative] = {}
        self.lowest: tuple[int, Key] | None = None  # equity e18 of a bucket that held a position, and which
        self._balances: npt.NDArray[np.float64] = np.zeros(GROWTH)
        self._quantities: npt.NDArray[np.float64] = np.zeros((len(self._columns), GROWTH))
        self._equities: npt.NDArray[np.float64] = np.zeros(GROWTH)
        self._held: npt.NDArray[np.bool_] = np.zeros(GROWTH, dtype=np.bool_)  # ever held a position
        self._float_marks: npt.NDArray[np.float64] = np.zeros(len(self._columns))
        self._ticks = 0

    def open_account(self, account: str, *, isolated: bool) -> None:
        self._isolated[account] = isolated

    def bucket_of(self, fill: Fill) -> str:
        """The bucket that a fill belongs to when it names none."""
        return fill.bucket or (fill.instrument if self._isolated[fill.account] else "main")

    @property
    def accounts(self) -> int:
        """How many accounts were opened."""
        return len(self._isolated)

    def transfer(self, transfer: Transfer) -> None:
        if transfer.reason in LOCKS:
            return  # what is locked stays in the balance
        amount = parse(transfer.amount)
        source = self._bucket(transfer.account, transfer.bucket or "main")
        if transfer.reason == "move":
            assert transfer.to_bucket is not None, "the venue never books a move without a target"
            target = self._bucket(transfer.account, transfer.to_bucket)
            source.balance -= amount
            target.balance += amount
            self._refresh_row(target)
        else:
            source.balance += amount
        self._refresh_row(source)

    def fill(self, fill: Fill) -> None:
        bucket = self._bucket(fill.account, self.bucket_of(fill))
        quantity = parse(fill.quantity) if fill.side == "buy" else -parse(fill.quantity)
        before = self.equity(bucket), self.maintenance_margin(bucket)
        bucket.balance += floor_div(-quantity * parse(fill.price), ONE) - parse(fill.fee or "0")
        held = bucket.positions.get(fill.instrument, 0) + quantity
        bucket.positions[fill.instrument] = held
        if not held:
            del bucket.positions[fill.instrument]
        self._held[bucket.row] = True
        self._refresh_row(bucket)
        self._judge(bucket, fill.instrument, before, self.marks.get(fill.instrument, 0), "fill")

    def mark(self, instrument: str, price: int) -> None:
        """A published mark, e18: every bucket that it takes below zero is noted with its cause."""
        old = self.marks.get(instrument, 0)
        self.marks[instrument] = price
        column = self._columns[instrument]
        self._ticks += 1
        if self._ticks % REFRESH_TICKS == 0 or not old:
            self._refresh_marks()
        else:
            self._equities += self._quantities[column] * (price / ONE - self._float_marks[column])
        self._float_marks[column] = price / ONE
        bound = TOLERANCE if self.lowest is None else max(TOLERANCE, self.lowest[0] / ONE + TOLERANCE)
        for row in np.flatnonzero(self._held & (self._quantities[column] != 0) & (self._equities < bound)):
            bucket = self._rows[int(row)]
            before = self._valued_before(bucket, instrument, old)
            self._judge(bucket, instrument, before, old, "late")

    def equity(self, bucket: Bucket) -> int:
        """Balance plus the value of the positions at the marks, e18, rounded down once."""
        return bucket.balance + floor_div(sum(q * self.marks.get(name, 0) for name, q in bucket.positions.items()), ONE)

    def maintenance_margin(self, bucket: Bucket) -> int:
        return sum(
            self._tiers[name].maintenance_margin(abs(quantity) * self.marks.get(name, 0) // ONE)
            for name, quantity in bucket.positions.items()
        )

    def position(self, account: str, bucket: str, instrument: str) -> int:
        """The signed quantity, e18; 0 where there is none."""
        found = self.buckets.get((account, bucket))
        return found.positions.get(instrument, 0) if found else 0

    def open_notional(self) -> int:
        """Σ |quantity|·mark over all positions, e18."""
        return sum(
            abs(quantity) * self.marks.get(name, 0) // ONE
            for bucket in self._rows
            for name, quantity in bucket.positions.items()
        )

    def _valued_before(self, bucket: Bucket, instrument: str, old: int) -> tuple[int, int]:
        """Equity and maintenance margin as they were under the mark before this tick."""
        new = self.marks[instrument]
        self.marks[instrument] = old
        before = self.equity(bucket), self.maintenance_margin(bucket)
        self.marks[instrument] = new
        return before

    def _judge(self, bucket: Bucket, instrument: str, before: tuple[int, int], old: int, otherwise: Cause) -> None:
        if not self.marks.keys() >= bucket.positions.keys():
            return  # an opening fill ahead of the first mark: nobody can value it yet
        equity = self.equity(bucket)
        if self.lowest is None or equity < self.lowest[0]:
            self.lowest = equity, bucket.key
        if equity >= 0 or bucket.key in self.negatives:
            return
        was_safe = before[0] >= before[1]
        self.negatives[bucket.key] = Negative(
            account=bucket.account,
            bucket=bucket.name,
            instrument=instrument,
            cause="gap" if was_safe and otherwise == "late" else otherwise,
            equity=equity,
            equity_before=before[0],
            maintenance_before=before[1],
            mark_before=old,
            mark=self.marks.get(instrument, 0),
        )

    def _bucket(self, account: str, name: str) -> Bucket:
        found = self.buckets.get((account, name))
        if found is None:
            found = Bucket(account, name, len(self._rows))
            self._rows.append(found)
            self.buckets[found.key] = found
            if len(self._rows) > len(self._balances):
                self._grow()
        return found

    def _grow(self) -> None:
        more = len(self._balances)
        self._balances = np.concatenate([self._balances, np.zeros(more)])
        self._equities = np.concatenate([self._equities, np.zeros(more)])
        self._held = np.concatenate([self._held, np.zeros(more, dtype=np.bool_)])
        self._quantities = np.concatenate([self._quantities, np.zeros((len(self._columns), more))], axis=1)

    def _refresh_row(self, bucket: Bucket) -> None:
        row = bucket.row
        self._balances[row] = bucket.balance / ONE
        self._quantities[:, row] = 0.0
        for name, quantity in bucket.positions.items():
            self._quantities[self._columns[name], row] = quantity / ONE
        self._equities[row] = self.equity(bucket) / ONE

    def _refresh_marks(self) -> None:
        marks = np.array([self.marks.get(name, 0) / ONE for name in self._columns])
        self._float_marks = marks
        self._equities = self._balances + marks @ self._quantities
