"""How many prices are applied before others have their turn: few in a storm, where each of them decides many orders."""

from typing import Final

LONG_S: Final = 0.02
SHORT_S: Final = 0.005


class Stride:
    """Starts at `most`; each turn that took long makes the next ones shorter, each short one longer again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = most

    def took(self, seconds: float) -> None:
        """A turn of `size` is over."""
        if seconds > LONG_S:
            self.size = max(1, self.size // 4)
        elif seconds < SHORT_S:
            self.size = min(self._most, self.size * 2)
