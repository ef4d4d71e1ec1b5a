"""Names to bytes, a million of them, in little more memory than the bytes: no object an entry, no pause for all of them at once.

Bytes lie in segments, one after the other; a number is what an entry is known by for as long as it exists, also while its bytes are
out (`take`) and come back changed (`put`). What was moved or taken leaves a hole; a segment that is mostly holes is copied together.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SEGMENT_BYTES: Final = 256 * 1024
LONGEST: Final = 32 * 1024  # bytes of one entry
_HEAD: Final = Struct("<IHH")  # number, bytes of the name, bytes of the body
_EMPTY: Final = -1
_GONE: Final = -2
_OUT: Final = -1
_SMALLEST_TABLE: Final = 1024
_FULL: Final = 0.6  # of the table's places
_SPARSE: Final = 0.5  # of a segment in use, and it is copied together


class Packed:
    """A map of names to bytes, with a number for each entry and a version that every `take` and `renew` raises."""

    def __init__(self) -> None:
        self._segments: list[bytearray] = []
        self._live: list[int] = []  # bytes in use, by segment
        self._ends: list[int] = []  # bytes that were written, in use or not, by segment that is full
        self._free_segments: list[int] = []
        self._current = self._new_segment()
        self._filled = 0  # bytes of the current segment, in use or not
        self._size = _SMALLEST_TABLE
        self._places: array[int] = array("q")  # number -> segment and offset, or out
        self._hashes: array[int] = array("I")
        self.versions: array[int] = array("I")
        self._free: list[int] = []
        self._out: dict[str, int] = {}
        self._table: array[int] = array("i", [_EMPTY]) * (_SMALLEST_TABLE + 1)
        self._used = 0  # places of the table that are not empty
        self._count = 0

    def __len__(self) -> int:
        """How many entries have their bytes here."""
        return self._count

    def __iter__(self) -> Iterator[int]:
        """The numbers of the entries whose bytes are here."""
        for number in range(len(self._places)):
            if self._places[number] != _OUT:
                yield number

    def holds(self, number: int) -> bool:
        """Whether the bytes of an entry of that number are here."""
        return self._places[number] != _OUT

    def find(self, name: str) -> int | None:
        """The number of the entry, if its bytes are here."""
        raw = name.encode()
        at = self._place_in_table(raw, crc32(raw))
        return None if at is None else self._table[at]

    def known(self, names: Sequence[str]) -> set[str]:
        """Those of them that `find` would find."""
        table, hashes = np.frombuffer(self._table, dtype=np.int32), np.frombuffer(self._hashes, dtype=np.uint32)
        wanted = _hashes_of(map(str.encode, names))
        left, at = np.arange(len(names)), wanted.astype(np.int64) & (self._size - 1)
        alike: list[int] = []  # of one hash, or of one name
        while len(left) and len(hashes):
            numbers = table[at[left]]
            alike += left[(numbers >= 0) & (hashes[np.maximum(numbers, 0)] == wanted[left])].tolist()
            at[left] += 1
            left = left[numbers != _EMPTY]
        return {names[each] for each in alike if self.find(names[each]) is not None}

    def name(self, number: int) -> str:
        segment, start, name_bytes, _ = self._look(number)
        return bytes(segment[start : start + name_bytes]).decode()

    def body(self, number: int) -> bytes:
        segment, start, name_bytes, body_bytes = self._look(number)
        start += name_bytes
        return bytes(segment[start : start + body_bytes])

    def put(self, name: str, body: bytes) -> int:
        """Bytes for a new name, or for one that is out; answers its number. ValueError: more than `LONGEST`."""
        raw = name.encode()
        size = _HEAD.size + len(raw) + len(body)
        if size > LONGEST:
            raise ValueError(f"{size} bytes do not fit")
        number = self._out.pop(name, None)
        if number is None:
            number = self._number(raw)
        self._count += 1
        self._write(number, raw, body)
        return number

    def put_many(self, entries: Sequence[tuple[str, bytes]]) -> list[int]:
        """As `put` of each, for names that are all new."""
        raws, bodies = [name.encode() for name, _ in entries], [body for _, body in entries]
        sizes = [_HEAD.size + len(raw) + len(body) for raw, body in zip(raws, bodies, strict=True)]
        if max(sizes, default=0) > LONGEST:
            raise ValueError(f"{max(sizes)} bytes do not fit")
        numbers = self._numbers(raws)
        self._count += len(numbers)
        heads = map(_HEAD.pack, numbers, map(len, raws), map(len, bodies))
        self._write_many(numbers, list(map(b"".join, zip(heads, raws, bodies, strict=True))), sizes)
        return numbers

    def take(self, number: int) -> tuple[str, bytes]:
        """Name and bytes, which are out from now on; the entry keeps its number."""
        name, body = self.name(number), self.body(number)
        self._out[name] = number
        self._count -= 1
        self.renew(number)
        self._leave(number)
        self._places[number] = _OUT
        return name, body

    def renew(self, number: int) -> None:
        """Raise the version: what was noted about the entry under the one before no longer holds."""
        self.versions[number] = (self.versions[number] + 1) & 0xFFFFFFFF

    def forget(self, name: str) -> None:
        """The entry is gone, wherever its bytes are; its number may be given to another."""
        raw = name.encode()
        number = self._out.pop(name, None)
        if number is None:
            at = self._place_in_table(raw, crc32(raw))
            if at is None:
                return
            number = self._table[at]
            self._count -= 1
            self._leave(number)
            self._places[number] = _OUT
        else:
            at = self._table.index(number, self._hashes[number] & (self._size - 1))
        self._table[at] = _GONE
        self.renew(number)
        self._free.append(number)

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _number(self, raw: bytes) -> int:
        if self._used + 1 > _FULL * (len(self._table) - 1):
            self._grow()
        hashed = crc32(raw)
        if self._free:
            number = self._free.pop()
            self._hashes[number] = hashed
        else:
            number = len(self._places)
            self._places.append(_OUT)
            self._hashes.append(hashed)
            self.versions.append(0)
        self._table[self._free_place(hashed)] = number
        return number

    def _numbers(self, raws: Sequence[bytes]) -> list[int]:
        """As `_number` of each."""
        count = len(raws)
        if self._used + count > _FULL * (len(self._table) - 1):
            self._grow(count)
        fresh = max(0, count - len(self._free))
        first = len(self._places)
        self._places.extend([_OUT] * fresh)
        self._hashes.extend([0] * fresh)
        self.versions.extend([0] * fresh)
        numbers = [*(self._free.pop() for _ in range(count - fresh)), *range(first, first + fresh)]
        hashes = _hashes_of(raws)
        np.frombuffer(self._hashes, dtype=np.uint32)[numbers] = hashes
        for late in self._settle(np.array(numbers, dtype=np.int32), hashes.astype(np.int64) & (self._size - 1)):
            self._table[self._free_place(self._hashes[late])] = late
        return numbers

    def _settle(self, numbers: NDArray[np.int32], at: NDArray[np.int64]) -> list[int]:
        """Each number goes to the first free place from where it looks, all at once; answers those that came to the end of the table."""
        table = np.frombuffer(self._table, dtype=np.int32)
        late: list[int] = []
        while len(numbers):
            is_last = at == len(table) - 1
            late += numbers[is_last].tolist()
            numbers, at = numbers[~is_last], at[~is_last]
            free = np.flatnonzero(table[at] < 0)
            places, chosen = np.unique(at[free], return_index=True)
            self._used += int(np.count_nonzero(table[places] == _EMPTY))
            table[places] = numbers[free[chosen]]
            waits = np.ones(len(numbers), dtype=np.bool_)
            waits[free[chosen]] = False
            numbers, at = numbers[waits], at[waits] + 1
        return late

    def _free_place(self, hashed: int) -> int:
        """One that was given up, or else the end of the run."""
        table, at = self._table, hashed & (self._size - 1)
        while table[at] >= 0:
            at += 1
        if table[at] == _EMPTY:
            self._used += 1
            if at == len(table) - 1:
                table.append(_EMPTY)  # the last place stays empty: it ends every run
        return at

    def _place_in_table(self, raw: bytes, hashed: int) -> int | None:
        table, hashes, at = self._table, self._hashes, hashed & (self._size - 1)
        while (number := table[at]) != _EMPTY:
            if number >= 0 and hashes[number] == hashed and self._places[number] != _OUT:
                segment, start, name_bytes, _ = self._look(number)
                if segment[start : start + name_bytes] == raw:
                    return at
            at += 1
        return None

    def _grow(self, more: int = 1) -> None:
        """Twice the places, or as often as so many `more` need it: every number goes to the first free place from its hash's on."""
        old = np.frombuffer(self._table, dtype=np.int32)
        numbers = old[old >= 0]
        size = self._size
        while len(numbers) + more > _FULL / 2 * size:
            size *= 2
        self._size = size
        homes = np.frombuffer(self._hashes, dtype=np.uint32)[numbers].astype(np.int64) & (size - 1)
        order = np.argsort(homes, kind="stable")
        steps = np.arange(len(order))
        places = np.maximum.accumulate(homes[order] - steps) + steps
        length = max(size, int(places[-1]) + 1 if len(places) else 0) + 1
        table = np.full(length, _EMPTY, dtype=np.int32)
        table[places] = numbers[order]
        del old
        self._table = array("i", table.tobytes())
        self._used = len(numbers)

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _look(self, number: int) -> tuple[bytearray, int, int, int]:
        """Segment, where the name begins in it, and how long name and body are."""
        place = self._places[number]
        segment = self._segments[place // SEGMENT_BYTES]
        start = place % SEGMENT_BYTES
        _, name_bytes, body_bytes = _HEAD.unpack_from(segment, start)
        return segment, start + _HEAD.size, name_bytes, body_bytes

    def _write(self, number: int, raw: bytes, body: bytes) -> None:
        size = _HEAD.size + len(raw) + len(body)
        if self._filled + size > SEGMENT_BYTES:
            self._turn()
        start = self._filled
        self._filled += size
        self._places[number] = self._current * SEGMENT_BYTES + start
        self._live[self._current] += size
        self._segments[self._current][start : start + size] = _HEAD.pack(number, len(raw), len(body)) + raw + body

    def _write_many(self, numbers: list[int], entries: list[bytes], sizes: list[int]) -> None:
        """Entries with their heads: as many at once as a segment holds."""
        starts = np.concatenate(([0], np.cumsum(sizes)))
        first = 0
        while first < len(entries):
            room = SEGMENT_BYTES - self._filled
            end = int(np.searchsorted(starts, starts[first] + room, side="right")) - 1
            if end == first:
                self._turn()
                continue
            size = int(starts[end] - starts[first])
            places = starts[first:end] + (self._current * SEGMENT_BYTES + self._filled - starts[first])
            for number, place in zip(numbers[first:end], places.tolist(), strict=True):
                self._places[number] = place
            self._segments[self._current][self._filled : self._filled + size] = b"".join(entries[first:end])
            self._filled += size
            self._live[self._current] += size
            first = end

    def _leave(self, number: int) -> None:
        """The bytes of an entry become a hole."""
        home = self._places[number] // SEGMENT_BYTES
        _, _, name_bytes, body_bytes = self._look(number)
        self._live[home] -= _HEAD.size + name_bytes + body_bytes
        if home != self._current and self._live[home] < _SPARSE * SEGMENT_BYTES:
            self._empty(home, but=number)

    def _turn(self) -> None:
        """The current segment is full. What left it while it was written to is looked at now: nobody may leave it later."""
        full, self._ends[self._current] = self._current, self._filled
        self._current, self._filled = self._new_segment(), 0
        if self._live[full] < _SPARSE * SEGMENT_BYTES:
            self._empty(full)

    def _empty(self, home: int, but: int = _OUT) -> None:
        """Copy what is left of a segment to the current one, all but the entry that is leaving."""
        segment, at = self._segments[home], 0
        while at < self._ends[home]:
            number, name_bytes, body_bytes = _HEAD.unpack_from(segment, at)
            end = at + _HEAD.size + name_bytes + body_bytes
            if number != but and self._places[number] == home * SEGMENT_BYTES + at:
                start = at + _HEAD.size
                self._write(
                    number, bytes(segment[start : start + name_bytes]), bytes(segment[start + name_bytes : end])
                )
            at = end
        self._segments[home], self._live[home] = bytearray(), 0
        self._free_segments.append(home)

    def _new_segment(self) -> int:
        if self._free_segments:
            home = self._free_segments.pop()
            self._segments[home] = bytearray(SEGMENT_BYTES)
        else:
            home = len(self._segments)
            self._segments.append(bytearray(SEGMENT_BYTES))
            self._live.append(0)
            self._ends.append(0)
        return home


def _hashes_of(raws: Iterable[bytes]) -> NDArray[np.uint32]:
    return np.array(list(map(crc32, raws)), dtype=np.uint32)
