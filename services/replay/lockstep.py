"""Two engines side by side: the same inputs to both, and a stop at the first effect or figure that differs."""

from collections.abc import Callable, Iterator
from math import isclose
from typing import Any, Final, TypeVar

from msgspec import structs

from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Effect
from services.engine.quiet import Ticks
from services.replay.engines import ReplayEngine
from services.replay.lines import bucket_line, effect_line

Figure = TypeVar("Figure")
GREEK_NOISE: Final = 1e-9
FOR_PEOPLE: Final = frozenset({"detail", "evidence"})


class Differs(Exception):
    """The engines disagree. `cause` is the input, `fast` and `reference` what each answered, as output lines."""

    def __init__(self, cause: list[str | int], fast: list[dict[str, Any]], reference: list[dict[str, Any]]) -> None:
        super().__init__(f"fast and reference differ at {cause}")
        self.cause, self.fast, self.reference = cause, fast, reference

    def line(self) -> dict[str, Any]:
        return {"effect": "difference", "cause": self.cause, "fast": self.fast, "reference": self.reference}


class Lockstep:
    """A replay engine that is two. What it answers is the fast one's, after it was found equal."""

    def __init__(self, fast: ReplayEngine, reference: ReplayEngine) -> None:
        self._fast, self._reference = fast, reference

    def apply(self, record: Record) -> list[Effect]:
        cause: list[str | int] = [record.topic, record.partition, record.offset]
        return self._same(cause, self._fast.apply(record), self._reference.apply(record))

    def fold_quiet(self, ticks: Ticks, at: int, before_ms: float) -> int:  # noqa: ARG002 - every record is looked at
        return at

    def timer(self, time_ms: int) -> list[Effect]:
        return self._same(["timer", 0, time_ms], self._fast.timer(time_ms), self._reference.timer(time_ms))

    def next_timer_ms(self) -> int | None:
        """The earlier of the two: an engine that wakes up for nothing does no harm."""
        due = [time for time in (self._fast.next_timer_ms(), self._reference.next_timer_ms()) if time is not None]
        return min(due, default=None)

    def buckets(self) -> Iterator[BucketView]:
        """The fast engine's views, each compared with the reference's."""
        ours, theirs = (
            {(v.account, v.bucket): v for v in engine.buckets()} for engine in (self._fast, self._reference)
        )
        for place in sorted(ours.keys() | theirs.keys()):
            fast, reference = ours.get(place), theirs.get(place)
            if fast is None or reference is None or not agree(fast, reference):
                raise Differs(["bucket", *place], _views(fast), _views(reference))
            yield fast

    def view(self, account: str, bucket: str) -> BucketView | None:
        """The fast engine's view of one bucket."""
        return self._fast.view(account, bucket)

    def equity(self, account: str, bucket: str) -> int | None:
        """What the fast engine says; the reference is asked for every bucket after every input."""
        return self._fast.equity(account, bucket)

    def watch_equities(self, listener: Callable[[tuple[str, str], int], None]) -> None:
        """What the fast engine reviews."""
        self._fast.watch_equities(listener)

    def places(self) -> Iterator[tuple[str, str]]:
        """Account and name of every bucket, after their views were found equal."""
        return ((view.account, view.bucket) for view in self.buckets())

    def state_hash(self) -> str:
        return self._figure("state_hash", lambda engine: engine.state_hash())

    @property
    def lowest_equity(self) -> str | None:
        return self._figure("lowest_equity", lambda engine: engine.lowest_equity)

    @property
    def lowest_equity_bucket(self) -> str | None:
        return self._figure("lowest_equity_bucket", lambda engine: engine.lowest_equity_bucket)

    @property
    def negative_buckets(self) -> set[tuple[str, str]]:
        return self._figure("negative_buckets", lambda engine: engine.negative_buckets)

    def _same(self, cause: list[str | int], fast: list[Effect], reference: list[Effect]) -> list[Effect]:
        ours, theirs = [effect_line(e) for e in fast], [effect_line(e) for e in reference]
        if [_decided(line) for line in ours] != [_decided(line) for line in theirs]:
            raise Differs(cause, ours, theirs)
        return fast

    def _figure(self, name: str, figure: Callable[[ReplayEngine], Figure]) -> Figure:
        ours, theirs = figure(self._fast), figure(self._reference)
        if ours != theirs:
            raise Differs(["summary", name], [{name: _plain(ours)}], [{name: _plain(theirs)}])
        return ours


def agree(fast: BucketView, reference: BucketView) -> bool:
    """Equal to the last digit; greeks, which decide nothing and come of two ways to integrate the bell curve, to `GREEK_NOISE`."""
    if structs.replace(fast, greeks=None) != structs.replace(reference, greeks=None):
        return False
    ours, theirs = _flat(fast.greeks), _flat(reference.greeks)
    return ours.keys() == theirs.keys() and all(
        isclose(ours[place], theirs[place], rel_tol=GREEK_NOISE, abs_tol=GREEK_NOISE) for place in ours
    )


def _flat(greeks: dict[str, dict[str, str]] | None) -> dict[tuple[str, str], float]:
    return {(name, greek): float(text) for name, each in (greeks or {}).items() for greek, text in each.items()}


def _decided(line: dict[str, Any]) -> dict[str, Any]:
    """A line without what is for people only: wording, distances, evidence (engine README, "Vocabulary")."""
    return {key: value for key, value in line.items() if key not in FOR_PEOPLE and not key.startswith("distance_")}


def _views(view: BucketView | None) -> list[dict[str, Any]]:
    return [] if view is None else [bucket_line(view)]


def _plain(figure: object) -> object:
    return sorted("|".join(place) for place in figure) if isinstance(figure, set) else figure
