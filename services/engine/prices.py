"""The price book: which mark is used, and how far it is believed. Grades and jumps: engine.md, "Price grades", "Jumps"."""

from collections.abc import Iterator
from math import isqrt
from typing import Final, Literal

from msgspec import Struct

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Price
from services.engine.settings import Settings

Grade = Literal["valid", "stale", "unconfirmed", "halted"]
Verdict = Literal["accepted", "skipped", "jump", "pending", "future", "full"]
SECOND_MS: Final = 1000


class Limits(Struct, frozen=True):
    """How old a price may be and how far it may move in a second; None where nothing is checked.

    Of an option the forward, else the volatility, is tested for jumps instead of the premium.
    """

    max_age_ms: int | None = None
    max_move: int | None = None
    is_option: bool = False


NO_LIMITS: Final = Limits()


class Pending(Struct):
    """A jump that nobody confirmed yet. `move` is the signed change of its first tick, `holds` that all since were half of it.

    `repeated`: there was one since, stamped later than the first. Silence confirms nothing.
    """

    started_ms: int
    move: int
    tick: Price
    place: tuple[int, int]
    holds: bool = True
    repeated: bool = False


class PriceState(Struct):
    """The last accepted tick of a price id, and a pending jump. Prices e18."""

    mark: int | None = None
    index: int | None = None
    volatility: int | None = None
    rate: int | None = None
    ts_ms: int = -1
    place: tuple[int, int] = (0, -1)  # partition, offset of the accepted record
    tick: Price | None = None
    pending: Pending | None = None
    from_future: bool = False


class PriceBook:
    """Price ids to their state. `marks` are the values that everything is valued at."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._states: dict[str, PriceState] = {}
        self.limits: dict[str, Limits] = {}
        self.marks: dict[str, int] = {}
        self.skipped = 0

    def state(self, price_id: str) -> PriceState | None:
        return self._states.get(price_id)

    def limits_of(self, price_id: str) -> Limits:
        return self.limits.get(price_id, NO_LIMITS)

    def __iter__(self) -> Iterator[tuple[str, PriceState]]:
        return iter(self._states.items())

    def update(self, tick: Price, place: tuple[int, int], timestamp_ms: int) -> Verdict:
        """Take a tick. "accepted" changes the values in use, the others only how far they are believed."""
        if tick.mark_price is None and tick.implied_volatility is None:
            return "skipped"  # a settlement price alone is no mark
        state = self._states.get(tick.instrument)
        if state is None:
            if len(self._states) >= self._settings.max_prices:
                return "full"
            state = self._states[tick.instrument] = PriceState()
        if _is_older(state, tick):
            self.skipped += 1
            return "skipped"
        if not self._settings.grade_prices:
            self.accept(tick, place)
            return "accepted"
        if tick.ts_ms > timestamp_ms + self._settings.future_tolerance_ms:
            known, state.from_future = state.from_future, True
            return "pending" if known else "future"
        state.from_future = False
        limits = self.limits_of(tick.instrument)
        if not self._is_jump(state, tick, limits) or self._is_confirmed(state, tick, limits):
            self.accept(tick, place)
            return "accepted"
        return self._hold(state, tick, place, limits)

    @staticmethod
    def _is_jump(state: PriceState, tick: Price, limits: Limits) -> bool:
        """|new/last - 1| > max_move·max(1, √(seconds between)), where there is a last value to compare with."""
        if limits.max_move is None or state.tick is None:
            return False
        pair = _tested_against_state(tick, state, limits)
        if pair is None:
            return False
        allowed = limits.max_move * _growth(tick.ts_ms - state.ts_ms)
        return abs(pair[0] - pair[1]) * ONE * ONE > allowed * pair[1]

    def _is_confirmed(self, state: PriceState, tick: Price, limits: Limits) -> bool:
        """Another source says so too, or the tick's own index, which itself moved, does."""
        band, pending = self._settings.confirm_band, state.pending
        if pending is not None and pending.tick.source != tick.source:
            pair = _tested(tick, pending.tick, limits)
            if pair is not None and abs(pair[0] - pair[1]) * ONE <= band * pair[1]:
                return True
        if limits.is_option or tick.mark_price is None or tick.index_price is None or state.tick is None:
            return False
        before, index, mark = state.tick.index_price, parse(tick.index_price), parse(tick.mark_price)
        return before is not None and index != parse(before) and abs(index - mark) * ONE <= band * mark

    @staticmethod
    def _hold(state: PriceState, tick: Price, place: tuple[int, int], limits: Limits) -> Verdict:
        assert state.tick is not None, "a first tick is no jump"
        pair = _tested(tick, state.tick, limits)
        assert pair is not None, "a jump has a size"
        move, pending = pair[0] - pair[1], state.pending
        if pending is None:
            state.pending = Pending(tick.ts_ms, move, tick, place)
            return "jump"
        pending.holds = pending.holds and move * pending.move > 0 and 2 * abs(move) >= abs(pending.move)
        pending.repeated = pending.repeated or tick.ts_ms > pending.started_ms
        pending.tick, pending.place = tick, place
        return "pending"

    def due(self, price_id: str, now_ms: int) -> Literal["held", "forced"] | None:
        """Whether time alone now accepts the pending jump: it held its side, or the longest wait is over."""
        state = self._states.get(price_id)
        if state is None or state.pending is None:
            return None
        pending, waited = state.pending, now_ms - state.pending.started_ms
        if waited >= self._settings.confirm_ms and pending.holds and pending.repeated:
            return "held"
        max_age = self.limits_of(price_id).max_age_ms
        fresh = max_age is None or now_ms - pending.tick.ts_ms <= max_age
        return "forced" if waited >= self._settings.confirm_max_ms and fresh else None

    def accept_pending(self, price_id: str) -> None:
        """Make the newest pending tick the mark in use."""
        state = self._states[price_id]
        assert state.pending is not None, "only a pending jump can be accepted"
        self.accept(state.pending.tick, state.pending.place)

    def accept(self, tick: Price, place: tuple[int, int]) -> None:
        """Put a tick of a known price in use, whatever was before."""
        state = self._states[tick.instrument]
        state.mark = _number(tick.mark_price)
        if state.mark is None:
            self.marks.pop(tick.instrument, None)
        else:
            self.marks[tick.instrument] = state.mark
        state.index, state.volatility = _number(tick.index_price), _number(tick.implied_volatility)
        state.rate = _number(tick.interest_rate)
        state.ts_ms, state.place, state.tick, state.pending = tick.ts_ms, place, tick, None

    def grade(self, price_id: str, now_ms: int) -> Grade:
        """How far the mark in use may be believed at `now_ms`; halts are the caller's knowledge."""
        state = self._states.get(price_id)
        if state is None or state.pending is not None or state.from_future:
            return "unconfirmed"
        max_age = self.limits_of(price_id).max_age_ms
        return "stale" if max_age is not None and now_ms - state.ts_ms > max_age else "valid"

    def interval(self, price_id: str, now_ms: int) -> tuple[int, int]:
        """Where a doubtful price may really be: [last·(1-u), last·(1+u)], u widening with age."""
        state = self._states[price_id]
        assert state.mark is not None, "a price that was never known is incomplete, not doubtful"
        limit = self.limits_of(price_id).max_move
        move = min(ONE, self._settings.default_price_move if limit is None else limit)
        spread = move * _growth(now_ms - state.ts_ms) // ONE
        low = state.mark * (ONE - min(spread, ONE)) // ONE
        high = -(-state.mark * (ONE + spread) // ONE)
        return low, high


def _growth(elapsed_ms: int) -> int:
    """max(1, √(Δt/1 s)), e18, the root rounded down."""
    return ONE if elapsed_ms <= SECOND_MS else isqrt(elapsed_ms * ONE * ONE // SECOND_MS)


def _number(text: str | None) -> int | None:
    return None if text is None else parse(text)


def _tested(tick: Price, against: Price, limits: Limits) -> tuple[int, int] | None:
    """What of this tick and of the other is compared for a jump, e18; None where there is nothing to compare."""
    pairs = [(tick.mark_price, against.mark_price)]
    if limits.is_option:
        pairs = [(tick.index_price, against.index_price), (tick.implied_volatility, against.implied_volatility)]
    for mine, theirs in pairs:
        if mine is not None and theirs is not None and (other := parse(theirs)) > 0:
            return parse(mine), other
    return None


def _tested_against_state(tick: Price, state: PriceState, limits: Limits) -> tuple[int, int] | None:
    """`_tested` against the last accepted tick, whose mark is known as a number."""
    if not limits.is_option and tick.mark_price is not None and state.mark:
        return parse(tick.mark_price), state.mark
    assert state.tick is not None, "callers ask only where there is a last value"
    return _tested(tick, state.tick, limits)


def _is_older(state: PriceState, tick: Price) -> bool:
    """By (source_epoch, sequence) within a source that numbers its ticks, a repeated one is old; else by time."""
    newest = state.pending.tick if state.pending is not None else state.tick
    if newest is None:
        return False
    if tick.source == newest.source and tick.sequence is not None and newest.sequence is not None:
        return (tick.source_epoch or 0, tick.sequence) <= (newest.source_epoch or 0, newest.sequence)
    return tick.ts_ms < newest.ts_ms
