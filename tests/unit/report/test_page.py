"""The page holds everything, requests nothing, and nothing that a record says can act in it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.settings import Settings, settings_id
from services.report.collector import Collector
from services.report.page import (
    SCRIPTS,
    Source,
    Variant,
    changed_settings,
    embedded,
    render,
    script_text,
    source_of,
    write_page,
)
from services.report.verdict import verdict

SUMMARY: dict[str, Any] = {
    "effect": "summary", "records": 0, "accounts": 0, "buckets": 0, "orders": 0, "liquidated_buckets": 0,
    "negative_buckets": 0, "lowest_equity": None, "lowest_equity_bucket": None, "deficit": {}, "dead_letters": 0,
    "state_hash": "ab", "elapsed_s": "1", "records_per_s": "1",
}  # fmt: skip
HOSTILE = "</script><script>alert(1)</script><!--\u2028&\"'><img src=x onerror=alert(1)>"


class Outline(HTMLParser):
    """Elements in their order, and the text of scripts and styles, as a browser would take the page apart."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._within: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")
            self._within = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = None

    def handle_data(self, data: str) -> None:
        if self._within is not None:
            self.raw[self._within][-1] += data


def page(source: Source | None = None, summary: dict[str, Any] | None = None, variants: Iterable[Variant] = ()) -> str:
    return render(
        Collector().payload(), source=source or Source(name="x"), settings=Settings(), summary=SUMMARY | (summary or {}), variants=variants
    )  # fmt: skip


def outline(text: str) -> Outline:
    seen = Outline()
    seen.feed(text)
    return seen


@given(st.text())
def test_data_comes_back_as_it_was_and_holds_no_markup(text: str) -> None:
    text += HOSTILE
    said = embedded({"text": text})
    assert not set("<>&\u2028\u2029") & set(said)
    assert json.loads(said) == {"text": text}


def test_hostile_names_stay_text() -> None:
    plain = outline(page())
    hostile = outline(
        page(
            Source(name=HOSTILE, remark=HOSTILE),
            {"lowest_equity": "1", "lowest_equity_bucket": f"{HOSTILE}|b", "deficit": {HOSTILE: HOSTILE}},
            [Variant(name=HOSTILE, summary=SUMMARY, changes={HOSTILE: HOSTILE})] * 2,
        )
    )
    for tag in ("script", "img", "style", "iframe", "object", "link"):
        assert sum(each == tag for each, _ in hostile.elements) == sum(each == tag for each, _ in plain.elements), tag
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]


def test_nothing_is_requested() -> None:
    seen = outline(page())
    loading = [
        (tag, name)
        for tag, attributes in seen.elements
        for name in ("src", "srcset", "data", "poster")
        if name in attributes
    ]
    links = [attributes["href"] for _, attributes in seen.elements if "href" in attributes]
    assert loading == []
    assert [link for link in links if not (link or "").startswith("#")] == []
    assert not re.search(r"@import|url\(", " ".join(seen.raw["style"]))


def test_the_policy_allows_exactly_what_is_inside() -> None:
    seen = outline(page())
    policy = next(a["content"] for _, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    data, *scripts = seen.raw["script"]
    assert json.loads(data)["summary"] == SUMMARY
    assert len(scripts) == len(SCRIPTS)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [allowed(script) for script in scripts]
    assert rules["style-src"].split() == [allowed(style) for style in seen.raw["style"]]


def allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def test_a_script_that_would_end_its_element_is_not_put_in() -> None:
    with pytest.raises(AssertionError):
        script_text("x = '</SCRIPT>'")


def test_the_chart_library_is_what_its_note_says() -> None:
    assets = files("services.report").joinpath("assets")
    for library in json.loads(assets.joinpath("VENDORED.json").read_text()).values():
        for name, digest in library["sha256"].items():
            assert sha256(assets.joinpath(name).read_bytes()).hexdigest() == digest, name
    assert "MIT License" in assets.joinpath("uPlot.LICENSE.txt").read_text()


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    there = tmp_path / "report.html"
    write_page(there, "first")
    with pytest.raises(UnicodeEncodeError):
        write_page(there, "second \ud800")
    assert there.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "latest.html").symlink_to("report.html")
    write_page(tmp_path / "latest.html", "page")
    assert (tmp_path / "latest.html").is_symlink()
    assert (tmp_path / "report.html").read_text() == "page"


def test_a_recording_is_named_by_its_content_and_not_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_bytes(b"x\n")
    source = source_of(str(file))
    assert (source.name, source.size, source.sha256) == ("r.jsonl", 2, sha256(b"x\n").hexdigest())
    assert source_of("-") == Source(name="standard input")


def test_settings_have_a_name_of_their_own() -> None:
    assert settings_id(Settings()) == settings_id(Settings())
    assert settings_id(Settings()) != settings_id(Settings(latency_ms=251))
    assert changed_settings(Settings(latency_ms=251)) == {"latency_ms": "251"}
    assert len(msgspec.json.encode(Settings())) > 100


@pytest.mark.parametrize(
    ("figures", "held", "title"),
    [
        ({}, "yes", "No order was needed"),
        ({"orders": 3, "liquidated_buckets": 2}, "yes", "Held: no bucket went below zero"),
        ({"orders": 3, "liquidated_buckets": 2, "negative_buckets": 1}, "no", "Not held: 1 bucket went below zero"),
        ({"buckets": 88, "lowest_equity": None}, "no", "Cannot be judged: no bucket could be valued"),
        ({"negative_buckets": 1_200}, "no", "Not held: 1,200 buckets went below zero"),
    ],
)
def test_the_verdict_in_words(figures: dict[str, int], held: str, title: str) -> None:
    said = verdict(SUMMARY | figures)
    assert (said["held"], said["title"]) == (held, title)


def test_the_verdict_names_what_is_missing_and_the_lowest_bucket() -> None:
    said = verdict(
        SUMMARY
        | {"deficit": {"USDT": "1.5"}, "lowest_equity": "-1.5", "lowest_equity_bucket": "a|b", "negative_buckets": 1}
    )
    assert "Missing money: 1.5 USDT." in said["text"]
    assert "was -1.5, in a|b." in said["text"]
