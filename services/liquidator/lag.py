"""How long the oldest unread account record has been waiting, from what the broker last said."""

from __future__ import annotations

from dataclasses import dataclass

from services.adapters.ports import Feed


@dataclass(slots=True)
class LagOfTopic:
    """One partition of one account topic. An unread record cannot be dated before it is read; it waits at most since the broker
    last said that there was none, or, right after a fold that left others unread, since the newest folded one was written.

    All times are milliseconds of one clock that never steps; of the broker's word only that it changed is used, not its time.
    """

    behind_since_ms: int | None = None
    records: int = 0
    ms: int = 0
    stuck_ms: int = 0  # for how long records have been waiting without one of them being folded
    _heard: Feed | None = None
    _heard_ms: int = 0
    _position: int = -1
    _moved_ms: int = 0

    def observe(self, *, position: int, feed: Feed | None, now_ms: int) -> None:
        """Update from the next offset to fold and the broker's last word (None: it never spoke)."""
        if feed is None:
            self.records, self.ms, self.stuck_ms = 0, 0, 0
            return
        none_waited_ms = (
            now_ms if self._heard is None else self._heard_ms
        )  # when the broker's word before this one was heard
        if feed != self._heard:
            self._heard, self._heard_ms = feed, now_ms
        self.records = max(0, feed.end - position)
        if not self.records or position != self._position:
            self._position, self._moved_ms = position, now_ms
        self.stuck_ms = now_ms - self._moved_ms
        if self.records:
            if self.behind_since_ms is None:
                self.behind_since_ms = none_waited_ms
            self.ms = now_ms - self.behind_since_ms
        else:
            self.behind_since_ms = None
            self.ms = now_ms - self._heard_ms

    def folded(self, *, newest_ms: int, position: int, feed: Feed | None) -> None:
        """Records up to `newest_ms` were folded; if more wait, the oldest of them is not older than that."""
        if feed is None or feed.end <= position:
            self.behind_since_ms = None
        else:
            self.behind_since_ms = newest_ms

    def asked_again(self) -> None:
        """What waits was asked for once more: it may take as long again."""
        self._position = -1
