"""The recordings by name."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from services.contracts.records import Record
from tests.recordings import bars2022, coinm, depeg, gemini, inverse, okx_options, raw_rate


class Recipe(NamedTuple):
    """How a recording is made from data folder, accounts and seed, and what it is for people."""

    make: Callable[..., Iterator[Record]]
    about: str
    has_windows: bool = False  # takes `from_ms` and `to_ms`

    def records(self, data: Path, accounts: int, seed: int, window: tuple[int, int] | None = None) -> Iterator[Record]:
        """Raises `Missing`, and ValueError for a window of a recording that has none."""
        if window is None:
            return self.make(data, accounts, seed)
        if not self.has_windows:
            raise ValueError("this recording is made whole")
        return self.make(data, accounts, seed, from_ms=window[0], to_ms=window[1])


RECORDINGS: Final[dict[str, Recipe]] = {
    "coinm-linear": Recipe(coinm.recording, "2025-10-10, eight COIN-M perpetuals taken as linear, margin in USDT"),
    "coinm-inverse": Recipe(
        inverse.recording, "the same as the inverse contracts that they are, coin as margin", has_windows=True
    ),
    "okx-options": Recipe(
        okx_options.recording, "2025-10-10, five BTC options, portfolio and plain accounts", has_windows=True
    ),
    "usdc-depeg": Recipe(depeg.recording, "2023-03, BTC perpetuals with USDC as collateral", has_windows=True),
    "gemini-late": Recipe(gemini.recording, "2025-10-10, five coins at the trades of one late and silent venue"),
    "raw-rate": Recipe(raw_rate.recording, "2024-08-08, trades and quotes off the wire, the clock 1.2 s behind"),
    "btc-2022": Recipe(
        bars2022.recording, "2022-01, a month of one-minute bars that falls by a third", has_windows=True
    ),
}
