"""How far a price is believed: order of ticks, jumps that wait for confirmation, grades, and intervals of doubtful prices."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from services.contracts.messages import Price
from services.engine.effects import AlarmName
from services.engine.settings import Settings
from services.reference.rounding import exact, from_e18, root_of_seconds

ONE: Final = Fraction(1)


class Grade(StrEnum):
    """Only instruments with a valid mark are closed; the rest stand for an interval."""

    VALID = "valid"
    STALE = "stale"
    UNCONFIRMED = "unconfirmed"
    HALTED = "halted"


@dataclass(frozen=True)
class Limits:
    """What is checked of one price id. None: not checked. Of an option the forward or the volatility is tested for jumps."""

    max_age_ms: int | None = None
    max_move: Fraction | None = None
    is_option: bool = False


@dataclass(frozen=True)
class Tick:
    """A price record with its place."""

    price: Price
    partition: int
    offset: int

    @property
    def mark(self) -> Fraction | None:
        return None if self.price.mark_price is None else exact(self.price.mark_price)

    @property
    def index(self) -> Fraction | None:
        return None if self.price.index_price is None else exact(self.price.index_price)

    def tested(self, limits: Limits, against: "Tick") -> tuple[Fraction, Fraction] | None:
        """What of this tick and of the other is compared for a jump."""
        fields = ("index_price", "implied_volatility") if limits.is_option else ("mark_price",)
        for name in fields:
            mine, theirs = getattr(self.price, name), getattr(against.price, name)
            if mine is not None and theirs is not None and exact(theirs) > 0:
                return exact(mine), exact(theirs)
        return None

    def move_from(self, other: "Tick", limits: Limits) -> Fraction | None:
        """Relative and signed; None where there is nothing to compare."""
        pair = self.tested(limits, other)
        return None if pair is None else pair[0] / pair[1] - 1


@dataclass(frozen=True)
class Jump:
    """A move that is not believed yet. `steady`: every tick since the first stayed on its side at half of it or more.

    `is_seconded`: there is a tick since the first whose time is later.
    """

    start_ms: int
    move: Fraction
    newest: Tick
    steady: bool
    is_seconded: bool = False


@dataclass
class PriceState:
    """Of one price id: the last accepted tick, what waits, and whether the newest tick came from the future."""

    last: Tick | None = None
    pending: Jump | None = None
    from_future: bool = False
    skipped: int = 0


def is_older(tick: Tick, than: Tick) -> bool:
    """By (source_epoch, sequence) within a source that numbers its ticks (a repeated one is old), else by time."""
    new, old = tick.price, than.price
    if new.source == old.source and new.sequence is not None and old.sequence is not None:
        return ((new.source_epoch or 0), new.sequence) <= ((old.source_epoch or 0), old.sequence)
    return new.ts_ms < old.ts_ms


def observe(state: PriceState, tick: Tick, timestamp_ms: int, limits: Limits, settings: Settings) -> AlarmName | None:
    """Take a tick in; answer what a person must know of it."""
    if tick.price.mark_price is None and tick.price.implied_volatility is None:
        return None  # a settlement price alone is no mark
    newest = state.pending.newest if state.pending is not None else state.last
    if newest is not None and is_older(tick, newest):
        state.skipped += 1
        return None
    if not settings.grade_prices:
        accept(state, tick)
        return None
    if tick.price.ts_ms > timestamp_ms + settings.future_tolerance_ms:
        known, state.from_future = state.from_future, True
        return None if known else AlarmName.PRICE_FROM_FUTURE
    state.from_future = False
    return _judge(state, tick, limits, settings)


def _judge(state: PriceState, tick: Tick, limits: Limits, settings: Settings) -> AlarmName | None:
    if state.last is None or not is_jump(tick, state.last, limits):
        accept(state, tick)
        return None
    move = tick.move_from(state.last, limits)
    assert move is not None, "a jump has a size"
    pending = state.pending
    if _agrees(state, tick, limits, settings):
        accept(state, tick)
        return None
    if pending is None:
        state.pending = Jump(tick.price.ts_ms, move, tick, steady=True)
        return AlarmName.PRICE_UNCONFIRMED
    stays = move * pending.move > 0 and abs(move) >= abs(pending.move) / 2
    is_seconded = pending.is_seconded or tick.price.ts_ms > pending.start_ms
    state.pending = Jump(pending.start_ms, pending.move, tick, pending.steady and stays, is_seconded)
    return None


def accept(state: PriceState, tick: Tick) -> None:
    state.last, state.pending = tick, None


def is_jump(tick: Tick, last: Tick, limits: Limits) -> bool:
    """|new/last - 1| > max_price_move·max(1, √(seconds between))."""
    move = tick.move_from(last, limits)
    if move is None or limits.max_move is None:
        return False
    root = root_of_seconds(tick.price.ts_ms - last.price.ts_ms)
    return abs(move) > limits.max_move * max(ONE, root)


def _agrees(state: PriceState, tick: Tick, limits: Limits, settings: Settings) -> bool:
    """Another source says so too, or the tick's own index, which itself moved, does."""
    band = from_e18(settings.confirm_band)
    pending = state.pending
    if pending is not None and pending.newest.price.source != tick.price.source:
        apart = tick.move_from(pending.newest, limits)
        if apart is not None and abs(apart) <= band:
            return True
    if limits.is_option or not tick.mark or tick.index is None or state.last is None or state.last.index is None:
        return False
    return tick.index != state.last.index and abs(tick.index / tick.mark - 1) <= band


def confirm(state: PriceState, now_ms: int, limits: Limits, settings: Settings) -> AlarmName | None:
    """Accept a jump whose time has come; the newest of its ticks becomes the mark."""
    pending = state.pending
    if pending is None:
        return None
    waited = now_ms - pending.start_ms
    if pending.steady and pending.is_seconded and waited >= settings.confirm_ms:
        accept(state, pending.newest)
        return None
    fresh = limits.max_age_ms is None or now_ms - pending.newest.price.ts_ms <= limits.max_age_ms
    if waited >= settings.confirm_max_ms and fresh:
        accept(state, pending.newest)
        return AlarmName.PRICE_ACCEPTED_UNCONFIRMED
    return None


def due_ms(state: PriceState, settings: Settings) -> list[int]:
    """When a pending jump may be accepted by time alone."""
    if state.pending is None:
        return []
    start_ms = state.pending.start_ms
    may_hold = state.pending.steady and state.pending.is_seconded
    times = [start_ms + settings.confirm_ms, start_ms + settings.confirm_max_ms]
    return times if may_hold else times[1:]


def grade(state: PriceState, now_ms: int, limits: Limits, *, halted: bool) -> Grade:
    assert state.last is not None, "only a price that exists has a grade"
    if halted:
        return Grade.HALTED
    if state.pending is not None or state.from_future:
        return Grade.UNCONFIRMED
    if limits.max_age_ms is not None and now_ms - state.last.price.ts_ms > limits.max_age_ms:
        return Grade.STALE
    return Grade.VALID


def interval(mark: Fraction, ts_ms: int, now_ms: int, limits: Limits, settings: Settings) -> tuple[Fraction, Fraction]:
    """[last·(1-u), last·(1+u)], u = min(1, move)·max(1, √age in seconds), the lower end not below 0."""
    move = limits.max_move if limits.max_move is not None else from_e18(settings.default_price_move)
    doubt = min(ONE, move) * max(ONE, root_of_seconds(now_ms - ts_ms))
    return mark * (1 - min(ONE, doubt)), mark * (1 + doubt)
