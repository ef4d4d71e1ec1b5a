"""A recording as a story for the simulated venue: its market and its clients, met by a real worker and answered anew.

Reference data, accounts, transfers, the clients' own fills and prices are played in their order, `speed` times as fast; every
record carries the time at which it is published. Of one instrument at most one mark a round is published, the newest. What an
earlier monitor decided and what answered it is left out, as are statements and clears, which speak of offsets of another log.
Durations in the reference data (how old a price may be) stay what they are.
"""

from collections.abc import Awaitable, Iterator
from typing import Final

from msgspec import Struct, structs

from services.adapters.recordings import Recording
from services.contracts.codec import decode, encode
from services.contracts.decimals import ONE, parse
from services.contracts.messages import Account, Control, Fill, Instrument, Message, Price, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import BY_NAME, Role
from services.demo.clock import now_ms
from services.demo.venue import Venue

ANSWERS: Final = ("order-events", "liquidation-orders", "account-statements")
CLOSING: Final = ("liquidation", "takeover", "adl")  # fills that answered orders of the monitor that was recorded
MOMENTS: Final = ("effective_ms", "expires_ms", "expiry_ms")  # times of day inside messages
REFERENCE: Final = ("instruments", "collateral", "risk-parameters", "controls")
DAY_S: Final = 86_400


class NotPlayable(ValueError):
    """The venue cannot keep books of what the recording holds; the text says of what."""


class Item(Struct, frozen=True):
    """One record of the recording. `message` is None where it does not decode: it is passed on to be refused."""

    record: Record
    message: Message | None


class Contents(Struct, kw_only=True):
    """What a first reading finds. The market moves with item number `opening`, at `moves_ms`; times are the recording's."""

    instruments: dict[str, Instrument]
    accounts: int
    opening: int
    moves_ms: int
    last_ms: int


class Recorded:
    """A recording, played within `seconds` or at its own speed if that is shorter. Raises `NotPlayable`, `RecordingError`."""

    def __init__(self, recording: Recording, seconds: float) -> None:
        self.name = recording.name
        self._contents = contents = survey(items(recording))
        span_ms = contents.last_ms - contents.moves_ms
        self.instruments, self.accounts = contents.instruments, contents.accounts
        self.seconds = min(seconds, max(1.0, span_ms / 1000))
        self._speed = max(1.0, span_ms / 1000 / self.seconds)
        self._began_ms = now_ms()
        self._booked: dict[tuple[str, str, str], Message] = {}
        self._items = items(recording)
        self._next: Item | None = None
        self._taken = 0

    async def announce(self, venue: Venue) -> None:
        """Reference data and marks that precede the first account record."""
        venue.figures.second = self._contents.moves_ms / 1000 % DAY_S
        while self._taken < self._contents.opening:
            item = self._take()
            if item.record.topic not in {*REFERENCE, "prices"}:
                self._next = item
                self._taken -= 1
                return
            await self._enter(venue, item)

    def openings(self, venue: Venue) -> Iterator[Awaitable[None]]:
        while self._taken < self._contents.opening:
            yield self._enter(venue, self._take())

    async def play(self, venue: Venue, share: float) -> None:
        until_ms = self._contents.moves_ms + share * (self._contents.last_ms - self._contents.moves_ms)
        venue.figures.second = until_ms / 1000 % DAY_S
        newest: dict[str, Item] = {}
        for item in self._due(until_ms):
            if isinstance(item.message, Price) and item.message.instrument in self.instruments:
                newest[item.message.instrument] = item
            else:
                await self._enter(venue, item)
        for item in newest.values():
            await self._enter(venue, item)

    def _take(self) -> Item:
        item, self._next = self._next or next(self._items), None
        self._taken += 1
        return item

    def _due(self, until_ms: float) -> Iterator[Item]:
        while True:
            item = self._next or next(self._items, None)
            self._next = item
            if item is None or item.record.timestamp_ms > until_ms:
                return
            self._next = None
            yield item

    async def _enter(self, venue: Venue, item: Item) -> None:
        topic, message = item.record.topic, item.message
        key = (item.record.key or b"").decode(errors="replace")
        if message is None:
            await venue.pass_on(topic, key, item.record.value)
            return
        key = key or str(getattr(message, BY_NAME[topic].key, topic))
        fact = _fact(message)
        repeated = None if fact is None else self._booked.get(fact)
        if repeated is not None:  # the monitor has to notice that it is the same; the books hold it already
            await venue.pass_on(topic, key, encode(repeated))
            return
        message = self._timed(message)
        if fact is not None:
            self._booked[fact] = message
        if not isinstance(message, Price):
            await venue.enter(topic, key, message)
        elif message.instrument in self.instruments:
            await venue.mark(message)
        else:
            await venue.pass_on(topic, key, encode(message))

    def _timed(self, message: Message) -> Message:
        """The message as of now; other moments in it as far away as the speed makes them."""
        changes = {name: self._moment(value) for name in MOMENTS if (value := getattr(message, name, None)) is not None}
        if getattr(message, "ts_ms", None) is not None:
            changes["ts_ms"] = now_ms()
        return structs.replace(message, **changes)

    def _moment(self, recorded_ms: int) -> int:
        """When a recorded moment comes. The same for each mention of it: an instrument's expiry is not to change."""
        return max(0, self._began_ms + round((recorded_ms - self._contents.moves_ms) / self._speed))


def _fact(message: Message) -> tuple[str, str, str] | None:
    """What identifies a fact that may be told more than once."""
    match message:
        case Fill():
            return "fill", message.account, message.fill_id
        case Transfer():
            return "transfer", message.account, message.transfer_id
        case _:
            return None


def items(recording: Recording) -> Iterator[Item]:
    """What is played of a recording, in its order."""
    for record in recording.records():
        topic = BY_NAME.get(record.topic)
        if topic is None or topic.role not in {Role.ACCOUNT, Role.BROADCAST} or record.topic in ANSWERS:
            continue
        message = decode(record.topic, record.value)
        if isinstance(message, Refusal):
            yield Item(record, None)
        elif not _is_of_another_log(message):
            yield Item(record, message)


def _is_of_another_log(message: Message) -> bool:
    if isinstance(message, Fill):
        return message.order_id is not None and message.exec_type in CLOSING
    return isinstance(message, Control) and message.through is not None


def survey(found: Iterator[Item]) -> Contents:
    """The first reading. The market moves where the first mark differs from the one before it. Raises `NotPlayable`."""
    instruments: dict[str, Instrument] = {}
    accounts: set[str] = set()
    marks: dict[str, str] = {}
    opening, moves_ms, last_ms, number = None, 0, 0, 0
    for number, item in enumerate(found, 1):  # the count is used after the loop
        message, last_ms = item.message, max(last_ms, item.record.timestamp_ms)
        match message:
            case Instrument():
                instruments.setdefault(message.instrument, message)
            case Account():
                accounts.add(message.account)
            case Price(mark_price=str(mark)) if opening is None:
                if marks.setdefault(message.instrument, mark) != mark:
                    opening, moves_ms = number - 1, item.record.timestamp_ms
            case _:
                pass
        if message is not None and (obstacle := _obstacle(message, instruments, accounts)):
            raise NotPlayable(obstacle)
    if not instruments or not accounts:
        raise NotPlayable("it holds no instruments or no accounts")
    if opening is None:
        opening, moves_ms = number, last_ms
    return Contents(
        instruments=instruments, accounts=len(accounts), opening=opening, moves_ms=moves_ms, last_ms=last_ms
    )


def _obstacle(message: Message, instruments: dict[str, Instrument], accounts: set[str]) -> str | None:
    """Why the venue's books, which know linear contracts of one asset, cannot hold this; None if they can."""
    asset = next((known.settlement_asset for known in instruments.values()), None)
    match message:
        case Instrument():
            if message.kind == "option" or message.contract != "linear":
                return f"{message.instrument} is a {message.contract} {message.kind}"
            if parse(message.contract_size or "1") != ONE:
                return f"a contract of {message.instrument} is {message.contract_size} units"
            return (
                None
                if message.settlement_asset == asset
                else f"it is settled in {asset} and {message.settlement_asset}"
            )
        case Account():
            return f"account {message.account} is in portfolio mode" if message.margin_mode == "portfolio" else None
        case Transfer():
            if asset is not None and message.asset != asset:
                return f"account {message.account} holds {message.asset} beside {asset}"
            return (
                f"move {message.transfer_id} has no target"
                if message.reason == "move" and not message.to_bucket
                else None
            )
        case Fill():
            if message.position_side in {"long", "short"}:
                return f"account {message.account} holds long and short positions of {message.instrument} apart"
            if message.instrument not in instruments:
                return f"{message.instrument} is traded before it is listed"
            return None if message.account in accounts else f"account {message.account} trades before it is opened"
        case _:
            return None
