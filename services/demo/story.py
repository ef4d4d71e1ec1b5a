"""What can happen at the simulated venue: the crash that is generated from a seed, and what every such story offers."""

from collections.abc import Awaitable, Iterator, Mapping
from typing import Final, Protocol

from services.contracts.decimals import ONE, to_text
from services.contracts.messages import Collateral, Instrument, Price, Transfer
from services.demo.accounts import Opening, openings
from services.demo.clock import now_ms
from services.demo.crash_path import book_share, crash_path, second_at
from services.demo.instruments import ASSET, MARKET, Listing
from services.demo.venue import Venue

SOURCE: Final = "venue"
FIRST_SECOND: Final = (20 * 60 + 33) * 60.0  # the crash of that evening began about 20:30 UTC; it broke at 21:13
MAJOR_DEPTH, OTHER_DEPTH = 2_000_000 * ONE, 150_000 * ONE  # notional that a calm book takes on one mark


class Story(Protocol):
    """The market and the clients of a run. It says what happens when; the caller sets the pace."""

    @property
    def name(self) -> str:
        """What is played, for people."""

    @property
    def instruments(self) -> Mapping[str, Instrument]: ...

    @property
    def accounts(self) -> int:
        """How many accounts there will be."""

    @property
    def seconds(self) -> float:
        """How long the market moves, on the wall."""

    async def announce(self, venue: Venue) -> None:
        """Reference data and first marks."""

    def openings(self, venue: Venue) -> Iterator[Awaitable[None]]:
        """What clients do before the market moves, step by step."""

    async def play(self, venue: Venue, share: float) -> None:
        """The marks of the moment at which `share` of `seconds` has passed, and all that happened up to it."""


class Crash:
    """The flash crash of a seed, and clients who opened just before it."""

    def __init__(self, seed: int, accounts: int, seconds: float, run: str = "") -> None:
        self.name = f"flash crash, seed {seed}"
        self._run = run
        self.accounts, self.seconds = accounts, seconds
        self.instruments = {listing.name: listing.instrument for listing in MARKET}
        self._seed = seed
        self._path = crash_path(seed, MARKET)

    async def announce(self, venue: Venue) -> None:
        for listing in MARKET:
            await venue.enter("instruments", listing.name, listing.instrument)
        await venue.enter("collateral", ASSET, Collateral(asset=ASSET, ts_ms=0))
        await self.play(venue, 0.0)

    def openings(self, venue: Venue) -> Iterator[Awaitable[None]]:
        for opening in openings(
            self._seed, self.accounts, MARKET, dict(venue.books.marks), ts_ms=now_ms(), run=self._run
        ):
            yield _book(venue, opening)

    async def play(self, venue: Venue, share: float) -> None:
        second = second_at(share)
        book = book_share(second)
        venue.figures.second, venue.figures.book = FIRST_SECOND + second, book
        for listing in MARKET:
            depth = int((MAJOR_DEPTH if listing.major else OTHER_DEPTH) * book)
            await venue.mark(self._mark(listing, second), depth)

    def _mark(self, listing: Listing, second: float) -> Price:
        price = listing.to_tick(self._path.curves[listing.name].at(second))
        return Price(instrument=listing.name, mark_price=to_text(price), source=SOURCE, ts_ms=0)


async def _book(venue: Venue, opening: Opening) -> None:
    account = opening.account
    await venue.enter("accounts", account.account, account)
    for step in opening.steps:
        await venue.enter("transfers" if isinstance(step, Transfer) else "fills", step.account, step)
