"""All accounts by name: those in use as objects, the others at rest as rows.

Nothing that is decided depends on which is which. An account wakes when a record, a price or a timer concerns it, and rests again,
longest unused first, when more are awake than `most_awake`, if nothing about it is under way.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import attrgetter
from typing import Final

import numpy as np

from services.engine.glance import BucketGlance
from services.engine.packed import LONGEST, Packed
from services.engine.resting import Resting, decode_resting, encode_resting, resting_of, woken
from services.engine.state import Account, Bucket, BucketKey

TRIED: Final = 4  # accounts looked at after an event, whether they may rest; more after one that reviewed more
CALM: Final = frozenset({"healthy", "closed"})
_status: Final = attrgetter("status")
ROOM: Final = 128  # bytes of an entry beside its rows, at most


class Accounts:
    """`touched` collects the buckets of accounts that woke: no box is kept for them any more, so they must be reviewed."""

    def __init__(self, touched: dict[BucketKey, None], most_awake: int) -> None:
        self._touched = touched
        self._most_awake = most_awake
        self.awake: OrderedDict[str, Account] = OrderedDict()  # longest unused first
        self.packed = Packed()
        self._partitions: array[int] = array("i")  # by number
        self._troubled: set[int] = set()  # at rest, with a bucket that is not calm

    def __len__(self) -> int:
        return len(self.awake) + len(self.packed)

    # -- finding -------------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Account | None:
        """The account, awake from now on."""
        found = self.awake.get(name)
        if found is None and len(self.packed):
            number = self.packed.find(name)
            return None if number is None else self._wake(number)
        return found

    def used(self, name: str) -> Account | None:
        """As `get`, of one that is likely to be used again soon."""
        found = self.awake.get(name)
        if found is None:
            return self.get(name)
        self.awake.move_to_end(name)
        return found

    def look(self, name: str) -> Account | None:
        """The account for reading: one at rest stays there, and what is done to the copy is lost."""
        found = self.awake.get(name)
        if found is None and len(self.packed):
            number = self.packed.find(name)
            return None if number is None else self._copy(number)
        return found

    def _copy(self, number: int) -> Account:
        return woken(self.packed.name(number), self.packed.body(number))

    def everyone(self) -> Iterator[Account]:
        """All of them for reading, as `look`."""
        yield from list(self.awake.values())
        for number in self.packed:
            yield self._copy(number)

    def of(self, partition: int) -> Iterator[Account]:
        """Those of a partition for reading, as `look`."""
        yield from [account for account in self.awake.values() if account.partition == partition]
        for number in self._numbers_of(partition):
            if self.packed.holds(number):
                yield self._copy(number)

    def names_of(self, partition: int) -> list[str]:
        """The accounts of a partition, as of now."""
        at_rest = map(self.packed.name, filter(self.packed.holds, self._numbers_of(partition)))
        return [*(account.account for account in self.awake.values() if account.partition == partition), *at_rest]

    def _numbers_of(self, partition: int) -> list[int]:
        found: list[int] = np.flatnonzero(np.frombuffer(self._partitions, dtype=np.int32) == partition).tolist()
        return found

    def uneasy(self) -> Iterator[Account]:
        """For reading: those awake, and those at rest with a bucket that is neither healthy nor closed."""
        yield from list(self.awake.values())
        for number in list(self._troubled):
            if number in self._troubled:
                yield self._copy(number)

    def names(self) -> Iterator[str]:
        """May be walked through while accounts come and go: those that do meanwhile may be passed over."""
        yield from list(self.awake)
        yield from map(self.packed.name, self.packed)

    def bodies(self, numbers: Iterable[int]) -> list[bytes]:
        """The rows of accounts at rest, packed."""
        return list(map(self.packed.body, numbers))

    def rows(self, numbers: Iterable[int]) -> Iterator[tuple[int, Resting]]:
        """The rows of accounts at rest."""
        for number in numbers:
            yield number, self.resting(number)

    def resting(self, number: int) -> Resting:
        """The rows of an account at rest."""
        return decode_resting(self.packed.body(number))

    # -- coming and going ----------------------------------------------------------------------------------------------

    def add(self, account: Account) -> None:
        self.awake[account.account] = account

    def enter_many(self, partition: int, bodies: Sequence[tuple[str, bytes]], troubled: Iterable[bool]) -> list[int]:
        """New accounts of a partition that rest from the beginning, each of which `fits`; their numbers."""
        numbers = self.packed.put_many(bodies)
        self._entered(numbers, partition, troubled)
        return numbers

    def known(self, names: Sequence[str]) -> set[str]:
        """Those of them that are here already, awake or at rest."""
        return self.packed.known(names) | (self.awake.keys() & names)

    def forget(self, name: str) -> None:
        number = self.packed.find(name)
        if number is not None:
            self._troubled.discard(number)
        self.awake.pop(name, None)
        self.packed.forget(name)

    def wake(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._wake(number)

    def _wake(self, number: int) -> Account:
        name, body = self.packed.take(number)
        self._troubled.discard(number)
        account = self.awake[name] = woken(name, body)
        for bucket in account.buckets:
            self._touched[name, bucket] = None
        return account

    def tries(self, reviewed: int) -> int:
        """How many to try to put to rest, after so many buckets were reviewed: as many as are awake beyond what may be."""
        excess = len(self.awake) - self._most_awake
        return min(excess, max(TRIED, reviewed)) if excess > 0 else 0

    def tired(self, count: int) -> list[Account]:
        """Those that were not used for longest; next time it is others' turn, should they have to stay awake."""
        names = list(islice(self.awake, count))
        for name in names:
            self.awake.move_to_end(name)
        return [self.awake[name] for name in names]

    def rest(self, account: Account) -> int | None:
        """Put it to rest; its number, None if it is too large."""
        name, body = account.account, encode_resting(resting_of(account))
        if not fits(name, body):
            return None
        number = self.packed.put(name, body)
        self._entered([number], account.partition, [not is_calm(account.buckets.values())])
        del self.awake[name]
        return number

    def _entered(self, numbers: Sequence[int], partition: int, troubled: Iterable[bool]) -> None:
        self._partitions.extend([partition] * (max(numbers, default=-1) + 1 - len(self._partitions)))
        for number in numbers:
            self._partitions[number] = partition
        self._troubled.update(compress(numbers, troubled))


def fits(name: str, body: bytes) -> bool:
    """Whether it is small enough to rest."""
    return len(body) + len(name.encode()) + ROOM <= LONGEST


def is_calm(buckets: Iterable[Bucket | BucketGlance]) -> bool:
    return CALM.issuperset(map(_status, buckets))
