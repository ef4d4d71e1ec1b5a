"""The engines that can run a recording: chosen by name, all with the same face."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Effect
from services.engine.portfolio.preset import Preset, PresetError, parse_preset
from services.engine.quiet import Ticks
from services.engine.settings import Settings
from services.replay.choices import EngineName


class ReplayEngine(Protocol):
    """What a replay needs of an engine."""

    def apply(self, record: Record) -> list[Effect]: ...
    def fold_quiet(self, ticks: Ticks, at: int, before_ms: float) -> int: ...
    def timer(self, time_ms: int) -> list[Effect]: ...
    def next_timer_ms(self) -> int | None: ...
    def buckets(self) -> Iterator[BucketView]: ...
    def view(self, account: str, bucket: str) -> BucketView | None: ...
    def equity(self, account: str, bucket: str) -> int | None: ...
    def watch_equities(self, listener: Callable[[tuple[str, str], int], None]) -> None: ...
    def places(self) -> Iterator[tuple[str, str]]: ...
    def state_hash(self) -> str: ...
    @property
    def lowest_equity(self) -> str | None: ...
    @property
    def lowest_equity_bucket(self) -> str | None: ...
    @property
    def negative_buckets(self) -> set[tuple[str, str]]: ...


def make_engine(
    name: EngineName,
    settings: Settings,
    presets: Mapping[str, Preset],
    *,
    gates_open: bool = True,
    observe: bool = True,
) -> ReplayEngine:
    """A new engine without state. `observe` makes it watch equities after every record."""
    if name is EngineName.BOTH:
        from services.replay.lockstep import Lockstep

        return Lockstep(
            make_engine(EngineName.FAST, settings, presets, gates_open=gates_open, observe=observe),
            make_engine(EngineName.REFERENCE, settings, presets, gates_open=gates_open, observe=observe),
        )
    if name is EngineName.REFERENCE:
        from services.reference.portfolio import PortfolioModel
        from services.reference.reference import Reference
        from services.replay.observed import ObservedReference
        from services.replay.specification import presets_of

        portfolio = PortfolioModel(presets_of(presets))
        return ObservedReference(Reference(settings, portfolio=portfolio, gates_open=gates_open), observe=observe)
    from services.engine.engine import Engine

    search: Literal["certificates", "full_scan"] = "certificates" if name is EngineName.FAST else "full_scan"
    return Engine(settings, presets, search=search, gates_open=gates_open, observe=observe)


class OnePreset(Mapping[str, Preset]):
    """One preset under every name: it replaces whatever an account asks for."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset

    def __getitem__(self, name: str) -> Preset:
        return self._preset

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(("preset",))

    def __len__(self) -> int:
        return 1


def load_preset(path: str) -> OnePreset:
    """The preset file at `path`, in place of any. Raises `PresetError` or `OSError`."""
    file = Path(path)
    try:
        return OnePreset(parse_preset(file.read_bytes(), file.stem)[0])
    except PresetError as error:
        raise PresetError(f"{path}: {error}") from error
