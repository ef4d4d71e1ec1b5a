"""A recording played by the simulated venue: what is published, when, and what the books make of it."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.adapters.recordings import Recording
from services.contracts.codec import decode
from services.contracts.decimals import ONE
from services.contracts.messages import Message, Price
from services.contracts.records import Record
from services.demo.recorded import NotPlayable, Recorded
from services.demo.venue import Venue
from services.demo.wire import Acknowledged

TIER = [{"notional_floor": "0", "maintenance_margin_rate": "0.05"}]


class Tape:
    """A broker that acknowledges at once."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def publish(self, topic: str, key: str, value: bytes, timestamp_ms: int, acknowledged: Acknowledged) -> None:
        offset = sum(record.topic == topic for record in self.records)
        record = Record(
            topic=topic, partition=0, offset=offset, timestamp_ms=timestamp_ms, key=key.encode(), value=value
        )
        self.records.append(record)
        acknowledged(record)

    async def read(self) -> list[Record]:
        return []

    def of(self, topic: str) -> list[Any]:
        return [decode(topic, record.value) for record in self.records if record.topic == topic]


def line(topic: str, ts_ms: int, key: str, **value: Any) -> dict[str, Any]:
    return {"topic": topic, "timestamp_ms": ts_ms, "key": key, "value": {**value, "ts_ms": ts_ms}}


def instrument(name: str = "X-PERP", **changed: Any) -> dict[str, Any]:
    fields = {
        "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": "X", "settlement_asset": "USDT",
        "margin_tiers": TIER, **changed,
    }  # fmt: skip
    return line("instruments", 1_000, name, **fields)


def price(ts_ms: int, mark: str, name: str = "X-PERP") -> dict[str, Any]:
    return line("prices", ts_ms, name, instrument=name, mark_price=mark, sequence=ts_ms)


def account(**changed: Any) -> dict[str, Any]:
    fields = {"account": "a", "client": "c", "margin_mode": "cross", "valuation_asset": "USDT", **changed}
    return line("accounts", 1_000, "a", **fields)


def deposit(**changed: Any) -> dict[str, Any]:
    fields = {"transfer_id": "d", "account": "a", "asset": "USDT", "amount": "100", "reason": "deposit", **changed}
    return line("transfers", 1_000, "a", **fields)


def fill(**changed: Any) -> dict[str, Any]:
    fields = {"fill_id": "f", "account": "a", "instrument": "X-PERP", "side": "buy", "quantity": "2", "price": "100"}
    return line("fills", 1_000, "a", **{**fields, **changed})


OPENING = [instrument(), price(1_000, "100"), account(), deposit(), fill()]
MOVE = [price(11_000, "99"), price(11_010, "98"), price(21_000, "90")]


def played(path: Path, rows: Iterable[dict[str, Any]], seconds: float = 2.0) -> Recorded:
    path.write_bytes(gzip.compress(b"".join(orjson.dumps(row) + b"\n" for row in rows)))
    return Recorded(Recording(str(path)), seconds)


async def run(story: Recorded, shares: Iterable[float]) -> tuple[Venue, Tape]:
    tape = Tape()
    venue = Venue(tape, story.instruments)
    await story.announce(venue)
    for step in story.openings(venue):
        await step
    for share in shares:
        await story.play(venue, share)
    return venue, tape


async def test_the_opening_is_all_that_precedes_the_first_move(tmp_path: Path) -> None:
    venue, tape = await run(played(tmp_path / "r.gz", OPENING + MOVE), [])
    assert [record.topic for record in tape.records] == ["instruments", "prices", "accounts", "transfers", "fills"]
    assert venue.books.equity(venue.books.buckets["a", "main"]) == 100 * ONE
    assert venue.books.accounts == 1


async def test_the_moments_of_a_recording_are_spread_over_the_seconds(tmp_path: Path) -> None:
    story = played(tmp_path / "r.gz", OPENING + MOVE, seconds=2.0)
    assert story.seconds == 2.0
    _, tape = await run(story, [0.0, 0.5])
    assert [mark.mark_price for mark in tape.of("prices")] == ["100", "99", "98"]
    _, tape = await run(played(tmp_path / "r.gz", OPENING + MOVE), [0.0, 0.5, 1.0])
    assert [mark.mark_price for mark in tape.of("prices")] == ["100", "99", "98", "90"]


async def test_a_round_publishes_the_newest_mark_of_an_instrument_only(tmp_path: Path) -> None:
    _, tape = await run(played(tmp_path / "r.gz", OPENING + MOVE), [0.5])
    assert [mark.mark_price for mark in tape.of("prices")] == ["100", "98"]


async def test_what_is_published_carries_the_time_of_now_and_rising_sequences(tmp_path: Path) -> None:
    _, tape = await run(played(tmp_path / "r.gz", OPENING + MOVE), [0.5, 1.0])
    for record in tape.records:
        message = decode(record.topic, record.value)
        assert isinstance(message, Message)
        assert abs(getattr(message, "ts_ms") - record.timestamp_ms) < 1_000  # noqa: B009  # not every message has one
    sequences = [mark.sequence for mark in tape.of("prices") if isinstance(mark, Price)]
    assert sequences == sorted(set(sequences))


async def test_a_recording_shorter_than_the_run_keeps_its_own_speed(tmp_path: Path) -> None:
    assert played(tmp_path / "r.gz", OPENING + MOVE, seconds=60).seconds == 10.0


async def test_what_another_monitor_wrote_and_what_answered_it_is_left_out(tmp_path: Path) -> None:
    answer = fill(fill_id="x", side="sell", order_id="o", exec_type="liquidation")
    event = line("order-events", 1_000, "a", order_id="o", account="a", bucket="main", instrument="X-PERP", attempt=1, status="filled")  # fmt: skip
    _, tape = await run(played(tmp_path / "r.gz", [*OPENING, answer, event, *MOVE]), [1.0])
    assert len(tape.of("fills")) == 1
    assert tape.of("order-events") == []


async def test_a_fact_told_twice_reaches_the_monitor_twice_and_the_books_once(tmp_path: Path) -> None:
    venue, tape = await run(played(tmp_path / "r.gz", [*OPENING, deposit(), *MOVE]), [])
    first, again = tape.of("transfers")
    assert first == again, "the same content: another one would be a conflict"
    assert venue.books.equity(venue.books.buckets["a", "main"]) == 100 * ONE


async def test_a_record_that_does_not_decode_is_passed_on_to_be_refused(tmp_path: Path) -> None:
    broken = {"topic": "fills", "timestamp_ms": 1_000, "key": "a", "value": {"fill_id": 7}}
    _, tape = await run(played(tmp_path / "r.gz", [*OPENING, broken, *MOVE]), [])
    assert tape.records[-1].value == b'{"fill_id":7}'


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([instrument(contract="inverse", settlement_asset="X"), account()], "inverse perpetual"),
        ([instrument(contract_size="10"), account()], "10 units"),
        ([instrument(), instrument("Y-PERP", settlement_asset="USDC"), account()], "USDT and USDC"),
        ([instrument(), account(margin_mode="portfolio")], "portfolio mode"),
        ([instrument(), account(), deposit(asset="BTC")], "BTC beside USDT"),
        ([instrument(), account(), fill(position_side="long")], "apart"),
        ([instrument(), fill(), account()], "before it is opened"),
        ([price(1, "1")], "no instruments"),
    ],
)
def test_what_the_books_cannot_hold_is_refused_with_its_name(
    tmp_path: Path, rows: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(NotPlayable, match=said):
        played(tmp_path / "r.gz", rows)
