"""The pace of the market: nothing is skipped, and a market that stands still stays fresh."""

from typing import Any, cast

import pytest

from services.contracts.messages import Price
from services.demo.rounds import INTERVAL_S, Rounds
from services.demo.story import Crash, Story
from services.demo.venue import Venue
from tests.unit.demo.test_recorded import Tape


class Shares:
    """A story that only notes at which moments it was asked to go on."""

    def __init__(self, rounds: int) -> None:
        self.seconds = rounds * INTERVAL_S
        self.accounts = 1
        self.played: list[float] = []

    async def play(self, _: Venue, share: float) -> None:
        self.played.append(share)


async def test_every_moment_is_played_in_even_steps_to_the_end() -> None:
    story = Shares(5)
    venue = Venue(Tape(), {})
    await Rounds(venue, cast("Story", story)).play()
    assert story.played == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert venue.figures.progress == 1.0


async def test_a_market_that_is_held_repeats_its_newest_marks() -> None:
    story, tape = Crash(seed=1, accounts=1, seconds=1.0), Tape()
    venue = Venue(tape, story.instruments)
    await story.announce(venue)
    asked: list[Any] = []
    await Rounds(venue, story).hold(until=lambda: len(asked) == 3 or asked.append(None) is not None)
    marks: dict[str, list[Price]] = {}
    for mark in tape.of("prices"):
        marks.setdefault(mark.instrument, []).append(mark)
    assert marks.keys() == story.instruments.keys()
    for told in marks.values():
        assert len(told) == 4
        assert len({mark.mark_price for mark in told}) == 1
        assert [mark.sequence for mark in told] == sorted({mark.sequence for mark in told})


async def test_opening_tells_how_far_it_is_and_waits_for_no_report_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.demo.rounds.STALLED_S", 0.2)
    story = Crash(seed=1, accounts=60, seconds=1.0)
    venue = Venue(Tape(), story.instruments)
    await story.announce(venue)
    await Rounds(venue, story).open(story.openings(venue))
    assert venue.books.accounts == 60
    assert venue.figures.progress is not None
    assert 0 < venue.figures.progress <= 1
    assert venue.unseen() > 0, "nobody has reported a bucket"
