"""A wall clock that steps is not believed until the broker's timestamps say who is right."""

from __future__ import annotations

from services.liquidator.steady import SteadyClock

NOW_MS = 1_700_000_000_000


class Wall:
    """A clock with a step to be set."""

    def __init__(self) -> None:
        self.seconds = 50.0
        self.step_ms = 0

    def now_ms(self) -> int:
        return NOW_MS + round(self.seconds * 1_000) + self.step_ms

    def monotonic(self) -> float:
        return self.seconds

    def worked(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    @property
    def true_ms(self) -> int:
        return NOW_MS + round(self.seconds * 1_000)


def stepped(step_ms: int) -> tuple[Wall, SteadyClock]:
    wall = Wall()
    clock = SteadyClock(wall)
    clock.heard(wall.true_ms - 5)
    wall.seconds += 0.1
    wall.step_ms = step_ms
    return wall, clock


def test_small_corrections_are_followed() -> None:
    wall, clock = stepped(200)
    assert clock.now_ms() == wall.now_ms()
    assert not clock.in_doubt


def test_a_step_is_in_doubt_and_time_goes_on() -> None:
    for step_ms in (30_000, -30_000):
        wall, clock = stepped(step_ms)
        assert clock.now_ms() == wall.true_ms
        assert clock.in_doubt
        wall.seconds += 3
        assert clock.now_ms() == wall.true_ms
        assert clock.in_doubt, "nothing was read since: what was read before the step says nothing"


def test_a_wrong_step_is_refused_by_the_next_record() -> None:
    wall, clock = stepped(30_000)
    clock.now_ms()
    wall.seconds += 0.1
    clock.heard(wall.true_ms - 20)
    assert clock.now_ms() == wall.true_ms
    assert not clock.in_doubt
    wall.step_ms = 0
    assert clock.now_ms() == wall.true_ms


def test_a_right_step_is_followed_after_the_next_record() -> None:
    """A machine that slept: the monotonic clock stood, the wall clock is right."""
    wall, clock = stepped(600_000)
    assert clock.in_doubt is False
    clock.now_ms()
    assert clock.in_doubt
    wall.seconds += 0.1
    clock.heard(wall.now_ms() - 20)
    assert clock.now_ms() == wall.now_ms()
    assert not clock.in_doubt
