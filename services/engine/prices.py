"""The price book: which mark is used, and how far it is believed. Grades and jumps: engine.md, "Price grades", "Jumps"."""

from collections.abc import Iterator
from math import isqrt
from typing import Final, Literal

from msgspec import Struct

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Price
from services.engine.settings import Settings

Grade = Literal["valid", "stale", "unconfirmed", "halted"]
Verdict = Literal["accepted", "skipped", "pending", "future", "full"]
SECOND_MS: Final = 1000


class Limits(Struct, frozen=True):
    """How old a price may be and how far it may move in a second; None where nothing is checked."""

    max_age_ms: int | None = None
    max_move: int | None = None


NO_LIMITS: Final = Limits()


class Pending(Struct):
    """A jump that nobody confirmed yet. `half_way` is the mark that every further tick must stay beyond."""

    started_ms: int
    upward: bool
    half_way: int
    tick: Price
    place: tuple[int, int]
    holds: bool = True


class PriceState(Struct):
    """The last accepted tick of a price id, and a pending jump. Prices e18."""

    mark: int | None = None
    index: int | None = None
    volatility: int | None = None
    rate: int | None = None
    settlement: int | None = None
    ts_ms: int = -1
    source: str | None = None
    order: tuple[int, int] | None = None  # source_epoch, sequence
    place: tuple[int, int] = (0, -1)  # partition, offset of the accepted record
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

    def __iter__(self) -> Iterator[tuple[str, PriceState]]:
        return iter(self._states.items())

    def update(self, tick: Price, place: tuple[int, int], timestamp_ms: int) -> Verdict:
        """Take a tick. "accepted" changes the values in use, "pending" and "future" only how far they are believed."""
        state = self._states.get(tick.instrument)
        if state is None:
            if len(self._states) >= self._settings.max_prices:
                return "full"
            state = self._states[tick.instrument] = PriceState()
        if _is_older(state, tick):
            self.skipped += 1
            return "skipped"
        if tick.ts_ms > timestamp_ms + self._settings.future_tolerance_ms:
            state.from_future = True
            return "future"
        mark = _mark(tick)
        if mark is None or state.mark is None or self._is_allowed(state, tick, mark):
            self._accept(state, tick, place)
            return "accepted"
        agreed = self._other_source_agrees(state, tick, mark)
        self._hold(state, tick, mark, place)
        if agreed or self._is_confirmed(state, tick, mark):
            self._accept(state, tick, place)
            return "accepted"
        return "pending"

    def _is_allowed(self, state: PriceState, tick: Price, mark: int) -> bool:
        move = self.limits.get(tick.instrument, NO_LIMITS).max_move
        if move is None or state.mark is None or state.mark == 0:
            return True
        return abs(mark - state.mark) * ONE <= allowed_move(move, tick.ts_ms - state.ts_ms) * state.mark

    def _hold(self, state: PriceState, tick: Price, mark: int, place: tuple[int, int]) -> None:
        assert state.mark is not None
        upward, pending = mark > state.mark, state.pending
        if pending is None or pending.upward != upward:
            # Half of the first jump, rounded away from the last mark so that the doubt is kept.
            half_way = state.mark + (mark - state.mark) // 2 if not upward else state.mark - (state.mark - mark) // 2
            state.pending = Pending(tick.ts_ms, upward, half_way, tick, place)
            return
        pending.holds = pending.holds and (mark >= pending.half_way if upward else mark <= pending.half_way)
        pending.tick, pending.place = tick, place

    def _is_confirmed(self, state: PriceState, tick: Price, mark: int) -> bool:
        pending, band = state.pending, self._settings.confirm_band
        assert pending is not None
        if tick.index_price is not None and _agree(mark, parse(tick.index_price), band):
            return True
        waited = tick.ts_ms - pending.started_ms
        return (waited >= self._settings.confirm_ms and pending.holds) or waited >= self._settings.confirm_max_ms

    def _other_source_agrees(self, state: PriceState, tick: Price, mark: int) -> bool:
        if state.pending is None or tick.source == state.pending.tick.source:
            return False
        pending_mark = _mark(state.pending.tick)
        return pending_mark is not None and _agree(mark, pending_mark, self._settings.confirm_band)

    def due(self, price_id: str, now_ms: int) -> Literal["held", "forced"] | None:
        """Whether time alone now accepts the pending jump: it held its side, or the longest wait is over."""
        state = self._states.get(price_id)
        if state is None or state.pending is None:
            return None
        pending, waited = state.pending, now_ms - state.pending.started_ms
        if waited >= self._settings.confirm_ms and pending.holds:
            return "held"
        max_age = self.limits.get(price_id, NO_LIMITS).max_age_ms
        fresh = max_age is None or now_ms - pending.tick.ts_ms <= max_age
        return "forced" if waited >= self._settings.confirm_max_ms and fresh else None

    def accept_pending(self, price_id: str) -> None:
        """Make the newest pending tick the mark in use."""
        state = self._states[price_id]
        assert state.pending is not None, "only a pending jump can be accepted"
        self._accept(state, state.pending.tick, state.pending.place)

    def _accept(self, state: PriceState, tick: Price, place: tuple[int, int]) -> None:
        mark = _mark(tick)
        if mark is not None:
            state.mark = self.marks[tick.instrument] = mark
        if tick.index_price is not None:
            state.index = parse(tick.index_price)
        if tick.implied_volatility is not None:
            state.volatility = parse(tick.implied_volatility)
        if tick.interest_rate is not None:
            state.rate = parse(tick.interest_rate)
        if tick.settlement_price is not None:
            state.settlement = parse(tick.settlement_price)
        state.ts_ms, state.source, state.place = tick.ts_ms, tick.source, place
        state.order = None if tick.sequence is None else (tick.source_epoch or 0, tick.sequence)
        state.pending, state.from_future = None, False

    def grade(self, price_id: str, now_ms: int) -> Grade:
        """How far the mark in use may be believed at `now_ms`; halts are the caller's knowledge."""
        state = self._states.get(price_id)
        if state is None or state.pending is not None or state.from_future:
            return "unconfirmed"
        max_age = self.limits.get(price_id, NO_LIMITS).max_age_ms
        return "stale" if max_age is not None and now_ms - state.ts_ms > max_age else "valid"

    def interval(self, price_id: str, now_ms: int) -> tuple[int, int]:
        """Where a doubtful price may really be: [last·(1-u), last·(1+u)], u widening with age."""
        state = self._states[price_id]
        assert state.mark is not None, "a price that was never known is incomplete, not doubtful"
        limit = self.limits.get(price_id, NO_LIMITS).max_move
        move = min(ONE, self._settings.default_price_move if limit is None else limit)
        spread = allowed_move(move, max(0, now_ms - state.ts_ms))
        low = state.mark * (ONE - min(spread, ONE)) // ONE
        high = -(-state.mark * (ONE + spread) // ONE)
        return low, high


def allowed_move(move: int, elapsed_ms: int) -> int:
    """move·max(1, √(Δt/1 s)), e18, rounded down."""
    if elapsed_ms <= SECOND_MS:
        return move
    return move * isqrt(elapsed_ms * ONE * ONE // SECOND_MS) // ONE


def _mark(tick: Price) -> int | None:
    return None if tick.mark_price is None else parse(tick.mark_price)


def _agree(mark: int, other: int, band: int) -> bool:
    return abs(mark - other) * ONE <= band * mark


def _is_older(state: PriceState, tick: Price) -> bool:
    newest = state.pending.tick if state.pending is not None else None
    source = newest.source if newest else state.source
    order = state.order if newest is None else _order(newest)
    if tick.sequence is not None and order is not None and tick.source == source:
        return (tick.source_epoch or 0, tick.sequence) <= order
    return tick.ts_ms < (newest.ts_ms if newest else state.ts_ms)


def _order(tick: Price) -> tuple[int, int] | None:
    return None if tick.sequence is None else (tick.source_epoch or 0, tick.sequence)
