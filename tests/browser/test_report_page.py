"""The page of `ringfence replay --report` as a person meets it: charts, filters, colours, print, and no word to the outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import in_ci
from tests.script.tape import Tape, run
from tests.support.chromium import browser
from tests.support.process import Unavailable

ACCOUNTS = 40
HOSTILE = "</script><script>window.acted = 1</script><img src=x onerror='window.acted = 1'>"
WIDTHS = (1280, 420)
# How much of a canvas differs from its first pixel: a chart that was drawn has lines, axes and words.
INK = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let ink = 0;
  for (let at = 0; at < data.length; at += 4) ink += data[at + 3] > 0 ? 1 : 0;
  return ink;
}"""


def crash() -> Tape:
    """Forty longs of different strength in a market that falls by a fifth and half recovers, hostile text on the way."""
    tape = Tape().instrument().instrument("ETH-PERP")
    for number in range(ACCOUNTS):
        name = f"a-{number}"
        tape.account(name).deposit(str(60 + 5 * number), account=name).fill("buy", "1", "1000", account=name)
    tape.mark("1000").mark("50", "ETH-PERP").wait(1_000)
    for step in range(120):
        fall = step if step < 80 else 120 - step // 2
        tape.mark(str(1000 - fall * 2.5)).mark(str(50 + step % 7), "ETH-PERP").wait(500)
        if step == 60:
            tape.put(
                "controls",
                {"control_id": "c-1", "scope": "instrument", "target": "ETH-PERP", "action": "halt", "reason": HOSTILE},
            )
            tape.put("prices", f'{{"instrument":"{HOSTILE}"}}')
            tape.put(HOSTILE, {"account": "a-1"})
    return tape


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    try:
        with browser(tmp_path_factory.mktemp("profile")) as context:
            yield context
    except Unavailable as missing:
        if in_ci():
            pytest.fail(f"a real part is missing: {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    outcome = run("replay", crash(), "--report", str(folder / "report.html"), folder=folder)
    assert outcome.summary["orders"] > 30
    return folder / "report.html"


class Page:
    """An open page, and everything that it complained about or asked for."""

    def __init__(self, context: Any, file: Path) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.tab = context.new_page()
        self.tab.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.tab.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.set_viewport_size({"width": WIDTHS[0], "height": 900})
        self.tab.goto(file.as_uri())
        self.tab.wait_for_selector("html[data-ready=yes]")

    def scheme(self, name: str) -> None:
        """The system's colours change; the page hears of it a moment later."""
        self.tab.emulate_media(color_scheme=name)
        self.tab.wait_for_selector(f"html[data-theme={name}]")

    def ink(self, chart: str) -> int:
        """Pixels drawn on a chart's canvas."""
        return int(self.tab.locator(f"#chart-{chart} canvas").evaluate(INK))

    def rows(self, table: str) -> int:
        return int(self.tab.locator(f"#{table} tbody tr").count())


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Page]:
    opened = Page(chromium, report)
    yield opened
    opened.tab.close()


def test_it_opens_without_a_word_and_without_a_request(page: Page, report: Path) -> None:
    assert page.said == []
    assert page.asked == [report.as_uri()]
    assert page.tab.evaluate("window.acted") is None
    assert page.tab.locator("img").count() == 0
    guards = page.tab.locator("#guards-table")
    for words in ("control: halt", "unknown topic"):
        guards.get_by_role("searchbox").fill(words)
        assert HOSTILE in guards.locator("tbody").inner_text(), words


@pytest.mark.parametrize("tape", [Tape(), Tape().account().deposit("1"), Tape().mark("0.000000000000000001", "X")])
def test_a_recording_of_almost_nothing_is_a_page_too(chromium: Any, tape: Tape, tmp_path: Path) -> None:
    run("replay", tape, "--report", str(tmp_path / "report.html"), folder=tmp_path)
    page = Page(chromium, tmp_path / "report.html")
    assert page.said == []
    assert "No order was needed" in page.tab.locator("h1").inner_text()
    page.tab.evaluate("dispatchEvent(new Event('beforeprint')); dispatchEvent(new Event('afterprint'))")
    assert page.said == []
    page.tab.close()


@pytest.mark.parametrize("chart", ["prices", "cascade", "statuses", "equity", "delays", "guards", "account-equity"])
def test_charts_are_drawn(page: Page, chart: str) -> None:
    assert page.ink(chart) > 2_000


def test_recorded_orders_have_a_section_of_their_own(chromium: Any, tmp_path: Path) -> None:
    tape = crash()
    (first, *_) = run("replay", tape, folder=tmp_path).effects("liquidation-order")
    message = {name: value for name, value in first.items() if name not in {"effect", "cause"}} | {"order_id": "0" * 32}
    tape.lines.append({"topic": "liquidation-orders", "timestamp_ms": message["ts_ms"], "value": message})
    run("replay", tape, "--diff", "--matching", "next", "--report", str(tmp_path / "report.html"), folder=tmp_path)
    page = Page(chromium, tmp_path / "report.html")
    assert page.said == []
    page.tab.locator("#diff-table select[data-filter=judgement]").select_option("not explained")
    assert first["account"] in page.tab.locator("#diff-table tbody").inner_text()
    page.tab.close()


def test_a_table_of_a_chart_keeps_its_peaks(page: Page) -> None:
    """Whatever a row stands for, the totals of the rows are the orders, and no status's peak is lost."""
    orders = page.tab.evaluate("RF.data.orders.total")
    page.tab.locator("#chart-cascade summary").click()
    page.tab.locator("#chart-cascade table.data").wait_for()
    cells = page.tab.locator("#chart-cascade tbody tr td:last-child").all_inner_texts()
    assert sum(int(cell) for cell in cells if cell != "–") == orders
    page.tab.locator("#chart-statuses summary").click()
    page.tab.locator("#chart-statuses table.data").wait_for()
    heads = page.tab.locator("#chart-statuses thead th").all_inner_texts()
    at = next(number for number, head in enumerate(heads) if head.startswith("liquidating")) + 1
    cells = page.tab.locator(f"#chart-statuses tbody tr :nth-child({at})").all_inner_texts()
    assert max(int(cell) for cell in cells) == page.tab.evaluate("Math.max(...RF.data.rungs.series.liquidating.high)")


def test_another_instrument_is_another_chart(page: Page) -> None:
    assert "Change of the mark" in page.tab.locator("#chart-prices").inner_text()
    page.tab.select_option("#instrument", value="0")
    assert "BTC-PERP, linear perpetual" in page.tab.locator("#chart-prices").inner_text()
    assert page.ink("prices") > 2_000
    assert page.ink("cascade") > 2_000
    page.tab.select_option("#instrument", label="ETH-PERP")
    assert "ETH-PERP, linear perpetual" in page.tab.locator("#chart-prices").inner_text()
    assert "Nothing of this kind" in page.tab.locator("#chart-cascade").inner_text()


def test_orders_are_searched_filtered_sorted_and_opened(page: Page) -> None:
    table = page.tab.locator("#orders-table")
    everything = page.rows("orders-table")
    table.get_by_role("searchbox").fill("a-3|")
    table.get_by_role("searchbox").fill("a-3")
    found = table.locator("tbody tr").all_inner_texts()
    assert 0 < len(found) < everything
    assert all("a-3" in row for row in found)
    table.get_by_role("searchbox").fill("no such order")
    assert page.rows("orders-table") == 0
    table.get_by_role("searchbox").fill("")
    table.locator("select[data-filter=stage]").select_option("full")
    stages = table.locator("tbody tr").all_inner_texts()
    assert stages
    assert all("full" in row for row in stages)
    table.locator("select[data-filter=stage]").select_option("")
    table.get_by_role("button", name="equity").click()
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("equity")
    table.locator(".opener").first.click()
    assert table.locator(".opener").first.get_attribute("aria-expanded") == "true"
    opened = table.locator(".detail").inner_text()
    assert "maintenance margin" in opened
    assert "prices, BTC-PERP" in opened


def test_an_account_tells_its_story(page: Page) -> None:
    page.tab.select_option("#account-choice", value="a-7")
    story = page.tab.locator("#account-view").inner_text()
    for part in (
        "Client c-1",
        "isolated margin",
        "When its first order was decided",
        "Changes of status",
        "liquidating",
    ):
        assert part in story, part


def test_a_closer_look_and_back(page: Page) -> None:
    over = page.tab.locator("#chart-prices .u-over").bounding_box()
    page.tab.mouse.move(over["x"] + 100, over["y"] + 50)
    page.tab.mouse.down()
    page.tab.mouse.move(over["x"] + 300, over["y"] + 50, steps=4)
    page.tab.mouse.up()
    spans = page.tab.evaluate(
        "RF.charts.map((chart) => chart.plot && chart.plot.scales.x.max - chart.plot.scales.x.min).filter(Boolean)"
    )
    assert max(spans) - min(spans) < 1e-6, "all charts follow"
    assert max(spans) < 40
    page.tab.click("#reset")
    assert page.tab.evaluate("RF.charts[0].plot.scales.x.max - RF.charts[0].plot.scales.x.min") > 55


def test_dark_and_light(page: Page) -> None:
    def ground() -> str:
        return str(page.tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.scheme("light")
    light = ground()
    page.scheme("dark")
    assert light != ground()
    page.tab.click("#theme")
    assert ground() == light
    assert page.ink("prices") > 2_000
    assert page.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(page: Page, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for text against its ground."""
    page.scheme(scheme)
    for ground in ("bg", "card"):
        for ink in ("text", "muted", "accent", "bad"):
            assert page.tab.evaluate(CONTRAST, [ink, ground]) >= 4.5, (ink, ground)
    for word in ("good", "bad", "warn"):
        assert page.tab.evaluate(CONTRAST, [word, f"{word}-bg"]) >= 4.5, word


CONTRAST = """([ink, ground]) => {
  const light = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [one, other] = [light(ink), light(ground)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_runs_over_the_edge(page: Page, width: int, tmp_path: Path) -> None:
    page.tab.set_viewport_size({"width": width, "height": 900})
    page.tab.wait_for_function("(width) => RF.charts[0].plot.width < width", arg=width)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    page.tab.screenshot(path=str(tmp_path / f"report-{width}.png"), full_page=True)
    assert (tmp_path / f"report-{width}.png").stat().st_size > 50_000


def test_in_print_it_is_light_and_without_controls(page: Page, tmp_path: Path) -> None:
    page.scheme("dark")
    pdf = page.tab.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    page.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.tab.emulate_media(media="print")
    assert page.tab.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.tab.locator(".bar").is_hidden()
    assert page.tab.locator("#chart-prices canvas").is_visible()
    page.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.tab.evaluate(
        "[...document.querySelectorAll('button, select, input, summary')].filter((each) => !(each.textContent.trim() || each.getAttribute('aria-label')"
        " || each.labels?.length)).map((each) => each.outerHTML)"
    )
    assert nameless == []
    assert page.tab.evaluate(
        "[...document.querySelectorAll('.plot')].every((each) => each.getAttribute('aria-label').length > 10)"
    )
