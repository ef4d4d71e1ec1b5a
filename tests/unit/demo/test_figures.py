"""What the demo measures and how it is told."""

import io

import pytest
from rich.console import Console

from services.contracts.decimals import ONE
from services.contracts.messages import AccountState, Default
from services.demo.books import Books, Negative
from services.demo.figures import Figures, explain, percentile, summarise
from services.demo.instruments import MARKET
from services.demo.screen import sparkline, summary_table, verdict

INSTRUMENTS = {listing.name: listing.instrument for listing in MARKET}


def state(status: str) -> AccountState:
    return AccountState(
        account="a", bucket="main", client="c", status="warning" if status == "warning" else "healthy",
        previous_status=None, valuation_asset="USDT", equity="1", initial_margin="0", maintenance_margin="0",
        free_margin="1", maintenance_excess="1", ts_ms=0,
    )  # fmt: skip


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile_is_a_value_that_occurred(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_percentile_of_one_and_of_nothing() -> None:
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) is None


def test_the_newest_status_of_a_bucket_counts() -> None:
    figures = Figures()
    figures.saw_state(state("healthy"))
    figures.saw_state(state("warning"))
    assert figures.statuses == {("a", "main"): "warning"}


def test_a_track_knows_its_change_and_its_low() -> None:
    figures = Figures()
    for price in (100, 40, 80):
        figures.saw_price("DOT-PERP", price * ONE)
    track = figures.tracks["DOT-PERP"]
    assert (round(track.change, 9), round(track.drawdown, 9), figures.ticks) == (-0.2, -0.6, 3)


def test_deficits_add_up_by_asset_and_a_default_told_twice_counts_once() -> None:
    figures = Figures()
    for number in ("1", "2", "2"):
        figures.saw_default(
            Default(
                default_id=number, account="a", bucket="main", client="c", asset="USDT", deficit="1.5",
                insurance_pool=None, order_id="o", ts_ms=0,
            )
        )  # fmt: skip
    assert summarise(figures, Books(INSTRUMENTS), played="seed 1", seconds=1).deficit == {"USDT": "3"}


def negative(cause: str) -> Negative:
    return Negative(
        account="a", bucket="main", instrument="DOT-PERP", cause="gap" if cause == "gap" else "late", equity=-ONE,
        equity_before=3 * ONE, maintenance_before=2 * ONE, mark_before=4 * ONE, mark=3 * ONE,
    )  # fmt: skip


@pytest.mark.parametrize(("causes", "held"), [([], True), (["gap"], True), (["gap", "late"], False)])
def test_the_promise_is_held_unless_a_bucket_could_have_been_closed(causes: list[str], held: bool) -> None:
    books = Books(INSTRUMENTS)
    for number, cause in enumerate(causes):
        books.negatives[str(number), "main"] = negative(cause)
    summary = summarise(Figures(), books, played="seed 1", seconds=1)
    assert summary.is_held is held
    assert summary.negative_buckets == len(causes)


def test_a_negative_bucket_is_explained_with_its_numbers() -> None:
    text = explain(negative("gap"))
    assert "a|main: equity -1 after DOT-PERP went from 4 to 3" in text
    assert "one tick" in text


def test_a_sparkline_spans_its_range() -> None:
    assert sparkline([1.0, 2.0, 1.0]) == "▁█▁"
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert len(sparkline([float(n) for n in range(1000)])) <= 40
    assert sparkline([]) == ""


def test_the_summary_table_names_the_figures() -> None:
    out = io.StringIO()
    summary = summarise(Figures(), Books(INSTRUMENTS), played="seed 9", seconds=1.25)
    Console(file=out, width=120).print(summary_table(summary))
    assert "liquidation orders" in out.getvalue()
    assert "1.2 s, seed 9" in out.getvalue()


@pytest.mark.parametrize(
    ("causes", "said"),
    [
        ([], "HELD: no bucket came near"),
        (["gap"], "but for 1 bucket that one price took"),
        (["gap", "late", "late"], "NOT HELD: 2 buckets went below zero that could have been closed in time."),
    ],
)
def test_the_verdict_is_one_sentence(causes: list[str], said: str) -> None:
    books = Books(INSTRUMENTS)
    for number, cause in enumerate(causes):
        books.negatives[str(number), "main"] = negative(cause)
    text = verdict(summarise(Figures(), books, played="seed 1", seconds=1))
    assert said in text
    assert text.count(".") == 1
    assert text.startswith("NOT HELD") is (causes.count("late") > 0)
