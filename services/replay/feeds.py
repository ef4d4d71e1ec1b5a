"""What if a market had moved otherwise, or a feed had been missing or stuck: changes of the records of `prices`.

A time is `21:15` or `21:15:30` (UTC; the first such moment at or after the first price of the recording), a whole ISO time
(`2025-10-10T21:15:00Z`), or `+90s`, `+5m`, `+2h` after that first price. An instrument is a price id, or `*` for all of them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final, Protocol

import orjson
from msgspec import Struct, structs

from services.contracts.codec import decode
from services.contracts.decimals import parse, to_text
from services.contracts.messages import Price
from services.contracts.records import Record
from services.replay.overrides import OverrideError

ALL: Final = "*"
PRICES: Final = "prices"
DAY_MS: Final = 86_400_000
UNITS_MS: Final[Mapping[str, int]] = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
PRICE_STEP: Final = 10**6  # prices have 12 decimals
_relative: Final = re.compile(r"\+(\d{1,12})(ms|s|m|h)")
_clock: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_shock: Final = re.compile(r"([+-]?\d{1,6}(?:\.\d{1,9})?)%")


class Moment(Struct, frozen=True):
    """A time as it was written: `clock` within a day, `after` the first price, or `at` in epoch milliseconds."""

    text: str
    at: int | None = None
    clock: int | None = None
    after: int | None = None

    def resolve(self, start_ms: int) -> int:
        """Epoch milliseconds, given the time of the first price."""
        if self.at is not None:
            return self.at
        if self.after is not None:
            return start_ms + self.after
        assert self.clock is not None, "a moment is written in one of three ways"
        today = start_ms - start_ms % DAY_MS + self.clock
        return today if today >= start_ms - start_ms % 1_000 else today + DAY_MS


class Feed(Protocol):
    """One change of the price feed."""

    text: str
    met: bool

    def apply(self, record: Record, price: Price, start_ms: int) -> Record | None: ...


class Shock:
    """Mark and index of an instrument times (1 + move): at once, or in a line from the first moment to the second; for good."""

    def __init__(self, text: str, name: str, move: Fraction, window: tuple[Moment, Moment]) -> None:
        self.text, self._name, self._move, self._window, self.met = text, name, move, window, False

    def apply(self, record: Record, price: Price, start_ms: int) -> Record | None:
        start, end = (moment.resolve(start_ms) for moment in self._window)
        if self._name not in (ALL, price.instrument) or record.timestamp_ms < start:
            return record
        self.met = True
        done = Fraction(1) if record.timestamp_ms >= end else Fraction(record.timestamp_ms - start, end - start)
        factor = 1 + self._move * done
        changed = {
            name: _moved(text, factor) for name in ("mark_price", "index_price") if (text := getattr(price, name))
        }
        return _with(record, changed)


class Drop:
    """No price of an instrument reaches anybody within the window."""

    def __init__(self, text: str, name: str, window: tuple[Moment, Moment]) -> None:
        self.text, self._name, self._window, self.met = text, name, window, False

    def apply(self, record: Record, price: Price, start_ms: int) -> Record | None:
        if not _within(record, price, self._name, self._window, start_ms):
            return record
        self.met = True
        return None


class Stick:
    """Within the window every price of an instrument says again what the last one before it said, with fresh times."""

    def __init__(self, text: str, name: str, window: tuple[Moment, Moment]) -> None:
        self.text, self._name, self._window, self.met = text, name, window, False
        self._last: dict[str, Price] = {}

    def apply(self, record: Record, price: Price, start_ms: int) -> Record | None:
        if not _within(record, price, self._name, self._window, start_ms):
            if self._name in (ALL, price.instrument):
                self._last[price.instrument] = price
            return record
        self.met = True
        last = self._last.setdefault(price.instrument, price)
        names = ("mark_price", "index_price", "implied_volatility")
        return _with(record, {name: getattr(last, name) for name in names})


class Feeds:
    """All changes of one run, in the order in which they were asked for. `apply` answers None for a price that nobody gets."""

    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = feeds
        self._start_ms: int | None = None

    def apply(self, record: Record) -> Record | None:
        if record.topic != PRICES or not self._feeds:
            return record
        if self._start_ms is None:
            self._start_ms = record.timestamp_ms
        changed: Record | None = record
        for feed in self._feeds:
            if changed is None:
                return None
            price = decode(PRICES, changed.value)
            if not isinstance(price, Price):
                return changed  # refused by the engine too
            changed = feed.apply(changed, price, self._start_ms)
        return changed

    @property
    def unused(self) -> list[str]:
        """Changes that met no price."""
        return [feed.text for feed in self._feeds if not feed.met]


def shock(text: str) -> Shock:
    """`ID=-10%@21:15` (a step) or `ID=-10%@21:15..21:20` (a ramp). Raises `OverrideError`."""
    rest, at, window = text.rpartition("@")
    name, equals, amount = rest.rpartition("=")
    found = _shock.fullmatch(amount)
    if not (at and equals and name and found):
        raise OverrideError(f"--shock {text}: expected INSTRUMENT=PERCENT%@TIME or @TIME..TIME, as BTC-PERP=-10%@21:15")
    move = Fraction(found[1]) / 100
    if move <= -1:
        raise OverrideError(f"--shock {text}: a price cannot lose all of itself")
    first, dots, last = window.partition("..")
    start = _moment("--shock", text, first)
    end = _moment("--shock", text, last) if dots else start
    return Shock(f"--shock {text}", name, move, _in_order("--shock", text, (start, end)))


def drop(text: str) -> Drop:
    """`ID@21:15..21:20`. Raises `OverrideError`."""
    return Drop(f"--drop {text}", *_gap("--drop", text))


def stick(text: str) -> Stick:
    """`ID@21:15..21:20`. Raises `OverrideError`."""
    return Stick(f"--stick {text}", *_gap("--stick", text))


def _gap(flag: str, text: str) -> tuple[str, tuple[Moment, Moment]]:
    name, at, window = text.rpartition("@")
    first, dots, last = window.partition("..")
    if not (name and at and dots):
        raise OverrideError(f"{flag} {text}: expected INSTRUMENT@TIME..TIME, as BTC-PERP@21:15..21:20")
    return name, _in_order(flag, text, (_moment(flag, text, first), _moment(flag, text, last)))


def _in_order(flag: str, text: str, window: tuple[Moment, Moment]) -> tuple[Moment, Moment]:
    """Times of day may pass midnight; of two that are written out, or count from the first price, the first is not the later one."""
    start, end = window
    for first, last in ((start.at, end.at), (start.after, end.after)):
        if first is not None and last is not None and last < first:
            raise OverrideError(f"{flag} {text}: ends before it begins")
    return window


def _moment(flag: str, whole: str, text: str) -> Moment:
    if found := _relative.fullmatch(text):
        return Moment(text, after=int(found[1]) * UNITS_MS[found[2]])
    if found := _clock.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in found.groups())
        if hour < 24 and minute < 60 and second < 60:
            return Moment(text, clock=((hour * 60 + minute) * 60 + second) * 1_000)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise OverrideError(f"{flag} {whole}: {text!r} is no time (21:15, 2025-10-10T21:15:00Z or +5m)") from None
    return Moment(text, at=round(when.replace(tzinfo=when.tzinfo or UTC).timestamp() * 1_000))


def _within(record: Record, price: Price, name: str, window: tuple[Moment, Moment], start_ms: int) -> bool:
    start, end = (moment.resolve(start_ms) for moment in window)
    return name in (ALL, price.instrument) and start <= record.timestamp_ms < end


def _moved(text: str, factor: Fraction) -> str:
    """Rounded down to 12 decimals, but not to nothing."""
    moved = parse(text) * factor.numerator // factor.denominator // PRICE_STEP * PRICE_STEP
    return to_text(max(moved, PRICE_STEP)) if parse(text) > 0 else text


def _with(record: Record, fields: Mapping[str, Any]) -> Record:
    body: dict[str, Any] = orjson.loads(record.value)
    return structs.replace(record, value=orjson.dumps({**body, **fields}))
