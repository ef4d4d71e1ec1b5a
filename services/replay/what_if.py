"""One variant of a replay: what is changed of settings, records, the venue and the price feed, and under which name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from services.contracts.records import Record
from services.replay.feeds import Feed, Feeds, drop, shock, stick
from services.replay.overrides import OverrideError, Overrides

FEEDS: Final[Mapping[str, Callable[[str], Feed]]] = {"shock": shock, "drop": drop, "stick": stick}


class WhatIf:
    """`changes` is what the output says of it: `--set` targets and, as `shock.ID`, `drop.ID` and `stick.ID`, the feeds."""

    def __init__(
        self, *, name: str | None = None, sets: Sequence[str] = (), feeds: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`feeds` are kind ("shock", "drop", "stick") and text. Raises `OverrideError`."""
        self.name = name
        self.overrides = Overrides(sets)
        made: list[Feed] = [FEEDS[kind](text) for kind, text in feeds]
        self.feeds = Feeds(made)
        self.changes = {} if name is None else {"name": name}
        self.changes |= self.overrides.changes
        for kind, text in feeds:
            target, value = _target(kind, text)
            self.changes[f"{kind}.{target}"] = value
        self.is_plain = not sets and not feeds
        self.is_more_than_sets = name is not None or bool(feeds)

    def record(self, record: Record) -> Record | None:
        """The record as this variant has it; None: nobody gets it. Raises `OverrideError`."""
        changed = self.feeds.apply(record)
        return None if changed is None else self.overrides.record(changed)

    @property
    def unused(self) -> list[str]:
        """Changes that met nothing in the recording, as they were written."""
        return [f"--set {text}" for text in self.overrides.unused] + self.feeds.unused


def parse_variant(text: str) -> WhatIf:
    """`NAME:KEY=VALUE,KEY=VALUE`; a key is one of `--set`, or `shock`, `drop` and `stick` with what their options take.

    Raises:
        OverrideError: it is none.
    """
    name, colon, rest = text.partition(":")
    parts = [part for part in rest.split(",") if part]
    if not (name and colon and parts):
        raise OverrideError(f"--variant {text}: expected NAME:KEY=VALUE,…, as small:engine.hysteresis=0.02")
    sets, feeds = [], []
    for part in parts:
        kind, _, value = part.partition("=")
        if kind in FEEDS:
            feeds.append((kind, value))
        else:
            sets.append(part)
    return WhatIf(name=name, sets=sets, feeds=feeds)


def _target(kind: str, text: str) -> tuple[str, str]:
    rest, _, window = text.rpartition("@")
    name, _, amount = rest.partition("=")
    return name, f"{amount}@{window}" if kind == "shock" else window
