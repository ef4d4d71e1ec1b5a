"""At most so many of each kind in a while, with a count of what was held back: a flood must not hide the rest, nor be hidden."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

KINDS: Final = 1_000


class RateLimit:
    """`burst` of each kind every `per_s` seconds. Times are seconds of any clock that does not step back."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._kinds: dict[Hashable, list[float]] = {}  # kind -> [window's start, admitted in it, held back in it]
        self._owed: dict[Hashable, int] = {}  # held back, of kinds that had to make room

    def admit(self, kind: Hashable, now: float) -> int | None:
        """How many of the kind were held back since the last one that was admitted; None: hold this one back too."""
        window = self._kinds.get(kind)
        if window is None or now - window[0] >= self._per_s:
            held = 0 if window is None else int(window[2])
            self._kinds.pop(kind, None)
            self._kinds[kind] = [now, 1, 0]  # the newest windows stand last
            self._make_room()
            return held + self._owed.pop(kind, 0)
        if window[1] < self._burst:
            window[1] += 1
            return 0
        window[2] += 1
        return None

    def overdue(self, now: float) -> list[tuple[Hashable, int]]:
        """Kinds of which some were held back and nothing came since: told once, then forgotten."""
        ended = [kind for kind, (start, _, _) in self._kinds.items() if now - start >= self._per_s]
        found = list(self._owed.items())
        self._owed.clear()
        for kind in ended:
            held = int(self._kinds.pop(kind)[2])
            if held:
                found.append((kind, held))
        return found

    def _make_room(self) -> None:
        if len(self._kinds) > KINDS:
            oldest = next(iter(self._kinds))
            held = int(self._kinds.pop(oldest)[2])
            if held:
                self._owed[oldest] = self._owed.get(oldest, 0) + held
