"""A wall clock that is not believed when it steps.

Decisions rest on the age of prices, and the engine's time cannot go back: a step of the clock must neither make old prices fresh nor
make fresh ones old for ever. Between steps the wall clock is followed; after one, the time goes on as the monotonic clock says until
the broker's timestamps tell which of the two is right.
"""

from __future__ import annotations

from typing import Final

from services.adapters.ports import Clock

MOST_SLEW_MS: Final = (
    250  # by so much the two may differ between two looks: corrections of a healthy machine are smaller
)
MOST_DELIVERY_MS: Final = 1_000  # by so much a record's timestamp may be older than the moment at which we read it


class SteadyClock:
    """`Clock` around another one. `in_doubt` after a step, until a record that was read since says who is right."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now_ms: float = clock.now_ms()
        self._at = clock.monotonic()
        self._broker_ms, self._broker_at = 0, float("-inf")  # the newest timestamp that we read, and when we read it
        self._stepped_at: float | None = None
        self.in_doubt = False

    def heard(self, broker_ms: int) -> None:
        """A record with this timestamp of the broker was read just now."""
        self._broker_ms, self._broker_at = broker_ms, self._clock.monotonic()

    def now_ms(self) -> int:
        wall, at = self._clock.now_ms(), self._clock.monotonic()
        steady = self._now_ms + (at - self._at) * 1_000
        if abs(wall - steady) <= MOST_SLEW_MS:
            steady, self._stepped_at, self.in_doubt = wall, None, False
        elif self._stepped_at is None:
            self._stepped_at, self.in_doubt = at, True
        elif self._broker_at > self._stepped_at:
            told = self._broker_ms + (at - self._broker_at) * 1_000
            wall_is_right = abs(wall - told) < abs(steady - told)
            steady = wall if wall_is_right else steady
            self.in_doubt = abs(steady - told) > MOST_DELIVERY_MS
        self._now_ms, self._at = steady, at
        return int(steady)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def worked(self) -> float:
        return self._clock.worked()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
