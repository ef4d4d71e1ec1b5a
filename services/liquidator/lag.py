"""How long the oldest unread account record has been waiting, from what the broker last said."""

from __future__ import annotations

from dataclasses import dataclass

from services.adapters.ports import Feed


@dataclass(slots=True)
class LagOfTopic:
    """One partition of one account topic. An unread record cannot be dated before it is read; it waits at most since we first
    heard of it, or, right after a fold that left others unread, since the newest folded one was written."""

    behind_since_ms: int | None = None
    records: int = 0
    ms: int = 0

    def observe(self, *, position: int, feed: Feed | None, now_ms: int) -> None:
        """Update from the next offset to fold and the broker's last word (None: it never spoke)."""
        if feed is None:
            self.records, self.ms = 0, 0
            return
        self.records = max(0, feed.end - position)
        if self.records:
            self.behind_since_ms = self.behind_since_ms if self.behind_since_ms is not None else now_ms
            self.ms = now_ms - self.behind_since_ms
        else:
            self.behind_since_ms = None
            self.ms = max(0, now_ms - feed.heard_ms)

    def folded(self, *, newest_ms: int, position: int, feed: Feed | None) -> None:
        """Records up to `newest_ms` (broker time) were folded; if more wait, the oldest of them is not older than that."""
        if feed is None or feed.end <= position:
            self.behind_since_ms = None
        else:
            self.behind_since_ms = newest_ms
