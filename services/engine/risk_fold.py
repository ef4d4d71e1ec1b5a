"""Prices in, `risk-parameters` out: what the publisher writes, and what a replay computes where a recording holds none.

Only marks that the engine's own price book accepts count: an unconfirmed jump is no volatility. A record is written at a step of
event time, when the multiplier changes, the variance has moved by much, or the last record is old. Its `as_of` is the place of
the tick behind it, its `ts_ms` the time of the step, and its variance is the whole state: whoever takes over reads on from there
and knows what the one before knew.
"""

from collections.abc import Mapping

from msgspec import Struct

from services.contracts.codec import decode
from services.contracts.decimals import ONE, parse, to_text
from services.contracts.messages import Instrument, Price, RiskParameters
from services.contracts.records import Record
from services.engine.backtest import Backtest
from services.engine.instruments import Spec, spec_of
from services.engine.prices import Limits, PriceBook
from services.engine.settings import Settings
from services.engine.volatility import RiskModel, demanded, next_multiplier, updated_variance


class Track(Struct):
    """What is known of one instrument. Prices, variance and multipliers e18."""

    variance: int
    multiplier: int = ONE  # as last published
    price: int | None = None  # of the last sample
    sampled_ms: int = 0  # by the source
    time_ms: int = 0  # newest event time
    stepped_ms: int | None = None
    core: int = 0  # at the last step
    last: RiskParameters | None = None  # record
    in_force: int = ONE
    coming: list[RiskParameters] = []


class RiskFold:
    """Fold `instruments`, `prices` and `risk-parameters`; answers the records to write. Options have no multiplier of their own.

    `computes` False only watches: the multipliers are another's, and only the backtest is kept. While `live` is False prices are
    taken in but no step is made: whoever takes over late does not make up for missed steps, so no step comes without its notice.
    """

    def __init__(self, model: RiskModel, settings: Settings | None = None, *, computes: bool = True) -> None:
        self.model = model
        self.live = True
        self.tracks: dict[str, Track] = {}
        self.backtests: dict[str, Backtest] = {}
        self._computes = computes
        self._book = PriceBook(settings or Settings())
        self._specs: dict[str, Spec] = {}

    def resume(self, last: Mapping[str, RiskParameters]) -> None:
        """Go on from the newest record of each instrument, before any price is folded."""
        for instrument, record in last.items():
            track = self._track(instrument)
            track.multiplier = track.in_force = parse(record.multiplier)
            track.variance = track.variance if record.variance is None else parse(record.variance)
            track.last, track.time_ms, track.stepped_ms = record, record.ts_ms, record.ts_ms

    def apply(self, record: Record) -> list[RiskParameters]:
        """What one record leads to. Refused records are the engine's to tell about."""
        message = decode(record.topic, record.value)
        if isinstance(message, Instrument):
            self._fold_instrument(message, record)
        elif isinstance(message, RiskParameters):
            self._fold_parameters(message)
        elif isinstance(message, Price):
            return self._fold_price(message, record)
        return []

    def _fold_instrument(self, message: Instrument, record: Record) -> None:
        spec = self._specs[message.instrument] = spec_of(message, (record.partition, record.offset))
        self._book.limits[message.instrument] = Limits(
            spec.max_price_age_ms, spec.max_price_move, spec.option is not None
        )

    def _fold_parameters(self, message: RiskParameters) -> None:
        track = self._track(message.instrument)
        track.coming = [*track.coming, message]

    def _fold_price(self, tick: Price, record: Record) -> list[RiskParameters]:
        name, place = tick.instrument, (record.partition, record.offset)
        spec = self._specs.get(name)
        if spec is None or spec.option is not None or self._is_known(name, place):
            return []
        if self._book.update(tick, place, record.timestamp_ms) != "accepted":
            if self._book.due(name, record.timestamp_ms) is None:
                return []
            self._book.accept_pending(name)
        state = self._book.state(name)
        if state is None or not state.mark:
            return []
        track, first_rate = self._track(name), spec.tiers[0].maintenance_rate
        track.time_ms = max(track.time_ms, record.timestamp_ms)
        _take_effect(track)
        test = self.backtests.setdefault(name, Backtest(self.model.close_out_ms))
        test.see(state.mark, state.ts_ms, track.in_force * first_rate // ONE)
        if not self._computes or not self._sample(track, state.mark, state.ts_ms):
            return []
        return self._step(name, track, first_rate, state.place)

    def _is_known(self, instrument: str, place: tuple[int, int]) -> bool:
        """Whether the record that we go on from was written after this tick."""
        track = self.tracks.get(instrument)
        if track is None or track.price is not None or track.last is None or track.last.as_of is None:
            return False
        partition, offset = track.last.as_of
        return place[0] == partition and place[1] < offset

    def _sample(self, track: Track, mark: int, ts_ms: int) -> bool:
        """Take a return; False while it is too early for one."""
        if track.price is None:
            track.price, track.sampled_ms = mark, ts_ms
            track.stepped_ms = track.time_ms if track.stepped_ms is None else track.stepped_ms
            return False
        elapsed_ms = ts_ms - track.sampled_ms
        if elapsed_ms < self.model.sample_ms:
            return False
        track.variance = updated_variance(track.variance, track.price, mark, elapsed_ms, self.model.half_life_ms)
        track.price, track.sampled_ms = mark, ts_ms
        return True

    def _step(self, name: str, track: Track, first_rate: int, place: tuple[int, int]) -> list[RiskParameters]:
        assert track.stepped_ms is not None, "the first sample starts the clock"
        if not self.live or track.time_ms - track.stepped_ms < self.model.step_ms:
            return []
        if not track.core and track.last is not None and track.last.variance is not None:
            track.core = demanded(parse(track.last.variance), first_rate, self.model)  # taken over: as it was then
        core, before = demanded(track.variance, first_rate, self.model), track.core
        multiplier = next_multiplier(track.multiplier, core, before, self.model)
        track.stepped_ms, track.core = track.time_ms, core
        if not self._is_news(track, multiplier):
            return []
        track.multiplier = multiplier
        track.last = RiskParameters(
            instrument=name, multiplier=to_text(multiplier), variance=to_text(track.variance),
            effective_ms=track.time_ms + self.model.notice_ms, as_of=list(place), ts_ms=track.time_ms,
        )  # fmt: skip
        self._fold_parameters(track.last)
        return [track.last]

    def _is_news(self, track: Track, multiplier: int) -> bool:
        last = track.last
        if last is None or last.variance is None or multiplier != track.multiplier:
            return True
        known = parse(last.variance)
        moved = abs(track.variance - known) * ONE > self.model.variance_band * known
        return moved or track.time_ms - last.ts_ms >= self.model.refresh_ms

    def _track(self, instrument: str) -> Track:
        known = self.tracks.get(instrument)
        if known is None:
            variance = self.model.initial_sigma * self.model.initial_sigma // ONE
            known = self.tracks[instrument] = Track(variance)
        return known


def _take_effect(track: Track) -> None:
    """The record with the largest `effective_ms` that is reached is in force, of equal ones the last."""
    due = [each for each in track.coming if each.effective_ms <= track.time_ms]
    if due:
        track.in_force = parse(max(reversed(due), key=lambda each: each.effective_ms).multiplier)
        track.coming = [each for each in track.coming if each.effective_ms > track.time_ms]
