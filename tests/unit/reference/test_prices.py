"""Which ticks are believed, when, and how far."""

from fractions import Fraction
from typing import Any

import pytest

from services.contracts.decimals import parse
from services.contracts.messages import Price
from services.engine.effects import AlarmName
from services.engine.settings import Settings
from services.reference.prices import Grade, Limits, PriceState, Tick, confirm, due_ms, grade, interval, observe

SETTINGS = Settings()
LIMITS = Limits(max_age_ms=5_000, max_move=Fraction("0.2"))


def tick(mark: str | None, ts_ms: int, **fields: Any) -> Tick:
    fields.setdefault("source", "venue")
    return Tick(Price(instrument="P", mark_price=mark, ts_ms=ts_ms, **fields), 0, 0)


def state_after(*ticks: Tick, limits: Limits = LIMITS) -> PriceState:
    state = PriceState()
    for each in ticks:
        observe(state, each, each.price.ts_ms, limits, SETTINGS)
    return state


def mark(state: PriceState) -> Fraction | None:
    return None if state.last is None else state.last.mark


@pytest.mark.parametrize(("mark_price", "accepted"), [("120", True), ("80", True), ("120.1", False), ("79.9", False)])
def test_a_move_beyond_the_limit_waits(mark_price: str, accepted: bool) -> None:
    state = state_after(tick("100", 0), tick(mark_price, 500))
    assert (mark(state) == Fraction(mark_price)) is accepted
    assert (state.pending is None) is accepted


def test_the_allowed_move_grows_with_the_root_of_time() -> None:
    """After 4 s: 20 %·2 = 40 %."""
    assert mark(state_after(tick("100", 0), tick("140", 4_000))) == 140
    assert mark(state_after(tick("100", 0), tick("140.1", 4_000))) == 100


def test_another_source_confirms_at_once() -> None:
    """131 is within 2 % of 130; 135 is not."""
    assert mark(state_after(tick("100", 0), tick("130", 100), tick("131", 110, source="other"))) == 131
    assert mark(state_after(tick("100", 0), tick("130", 100), tick("135", 110, source="other"))) == 100
    assert mark(state_after(tick("100", 0), tick("130", 100), tick("131", 110))) == 100


def test_its_own_index_confirms_if_it_moved() -> None:
    assert mark(state_after(tick("100", 0, index_price="100"), tick("130", 100, index_price="129"))) == 130
    assert mark(state_after(tick("100", 0, index_price="129"), tick("130", 100, index_price="129"))) == 100
    assert mark(state_after(tick("100", 0, index_price="100"), tick("130", 100, index_price="120"))) == 100


def test_steady_ticks_confirm_after_a_while() -> None:
    """130 at 100, then 125 (25 % is at least half of 30 %): accepted at 600, newest first."""
    state = state_after(tick("100", 0), tick("130", 100), tick("125", 300))
    assert due_ms(state, SETTINGS) == [600, 1_600]
    assert confirm(state, 599, LIMITS, SETTINGS) is None
    assert mark(state) == 100
    assert confirm(state, 600, LIMITS, SETTINGS) is None
    assert mark(state) == 125


def test_unsteady_ticks_wait_longer_and_alarm() -> None:
    state = state_after(tick("100", 0), tick("130", 100), tick("75", 300))
    assert due_ms(state, SETTINGS) == [1_600]
    confirm(state, 1_599, LIMITS, SETTINGS)
    assert mark(state) == 100
    assert confirm(state, 1_600, LIMITS, SETTINGS) is AlarmName.PRICE_ACCEPTED_UNCONFIRMED
    assert mark(state) == 75


def test_an_old_pending_tick_is_never_accepted_by_time() -> None:
    state = state_after(tick("100", 0), tick("130", 100), tick("75", 110))
    assert confirm(state, 5_111, LIMITS, SETTINGS) is None
    assert mark(state) == 100


def test_a_tick_back_inside_drops_the_jump() -> None:
    state = state_after(tick("100", 0), tick("130", 100), tick("110", 200))
    assert (mark(state), state.pending) == (110, None)


def test_older_ticks_are_skipped() -> None:
    state = state_after(tick("100", 10, sequence=5), tick("101", 20, sequence=5), tick("102", 30, sequence=4))
    assert (mark(state), state.skipped) == (100, 2)
    assert mark(state_after(tick("100", 10, sequence=5), tick("101", 9, sequence=1, source_epoch=1))) == 101
    assert mark(state_after(tick("100", 10), tick("101", 9))) == 100
    assert mark(state_after(tick("100", 10), tick("101", 10))) == 101


def test_a_tick_from_the_future_is_not_believed() -> None:
    state = state_after(tick("100", 0))
    assert observe(state, tick("101", 1_251), 1_000, LIMITS, SETTINGS) is AlarmName.PRICE_FROM_FUTURE
    assert (mark(state), grade(state, 1_000, LIMITS, halted=False)) == (100, Grade.UNCONFIRMED)
    observe(state, tick("102", 1_250), 1_000, LIMITS, SETTINGS)
    assert (mark(state), grade(state, 1_000, LIMITS, halted=False)) == (102, Grade.VALID)


def test_an_option_jumps_by_its_forward_not_by_its_premium() -> None:
    limits = Limits(max_move=Fraction("0.2"), is_option=True)
    assert mark(state_after(tick("1", 0, index_price="100"), tick("3", 100, index_price="101"), limits=limits)) == 3
    assert mark(state_after(tick("1", 0, index_price="100"), tick("3", 100, index_price="150"), limits=limits)) == 1
    assert (
        mark(state_after(tick("1", 0, implied_volatility="0.5"), tick("3", 9, implied_volatility="0.9"), limits=limits))
        == 1
    )


@pytest.mark.parametrize(("now_ms", "halted", "expected"), [
    (5_000, False, Grade.VALID), (5_001, False, Grade.STALE), (0, True, Grade.HALTED),
])  # fmt: skip
def test_grades(now_ms: int, halted: bool, expected: Grade) -> None:
    assert grade(state_after(tick("100", 0)), now_ms, LIMITS, halted=halted) is expected


def test_a_doubtful_price_is_an_interval_that_widens() -> None:
    """20 % within a second; 40 % after 4 s; never below 0. Without a limit the default of 20 %."""
    assert interval(Fraction(100), 0, 900, LIMITS, SETTINGS) == (80, 120)
    assert interval(Fraction(100), 0, 4_000, LIMITS, SETTINGS) == (60, 140)
    assert interval(Fraction(100), 0, 100_000, LIMITS, SETTINGS) == (0, 300)
    assert interval(Fraction(100), 0, 0, Limits(), Settings(default_price_move=parse("0.1"))) == (90, 110)
