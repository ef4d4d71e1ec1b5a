"""The recordings reader: every form it takes, what it fills in, and how it names what is broken."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from services.adapters import recordings, recordings_lines
from services.adapters.recordings import Recording, RecordingError, read_file
from services.contracts.records import Record

FULL = {
    "topic": "fills",
    "partition": 3,
    "offset": 12,
    "timestamp_ms": 1700000000000,
    "key": "a-17",
    "value": {"a": "1"},
}
EXPECTED = Record(topic="fills", partition=3, offset=12, timestamp_ms=1700000000000, key=b"a-17", value=b'{"a": "1"}')


def written(folder: Path, *lines: Any, name: str = "r.jsonl") -> str:
    path = folder / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def read(folder: Path, *lines: Any) -> list[Record]:
    return list(read_file(written(folder, *lines)))


def two_members(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: pack(data[:20]) + pack(data[20:])


FORMS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "two gzip members": two_members(gzip.compress),
    "two zstd frames": two_members(lambda data: zstandard.ZstdCompressor().compress(data)),
    "windows line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "blank lines": lambda data: b"\n" + data.replace(b"\n", b"\n\n"),
    "no end of the last line": lambda data: data[:-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_is_read_in_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "recording"
    path.write_bytes(FORMS[form]((json.dumps(FULL) + "\n").encode() * 3))
    assert list(read_file(str(path))) == [EXPECTED] * 3


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    data = FORMS[form]((json.dumps(FULL) + "\n").encode())
    monkeypatch.setattr(recordings, "sys", SimpleNamespace(stdin=SimpleNamespace(buffer=io.BytesIO(data))))
    with Recording("-") as recording:
        assert [list(recording.records()), list(recording.records())] == [[EXPECTED], [EXPECTED]]


def test_what_a_hand_written_file_leaves_out_is_filled_in(tmp_path: Path) -> None:
    records = read(
        tmp_path,
        {"topic": "prices", "value": {"ts_ms": 5}},
        {"topic": "fills", "value": {"ts_ms": 6}},
        {"topic": "prices", "value": {"ts_ms": 7}},
        {"topic": "prices", "value": {"no": "time"}},
        {"topic": "prices", "value": {"ts_ms": "7"}},
        {"topic": "prices", "value": {"ts_ms": -1}},
    )
    places = [(r.topic, r.partition, r.offset, r.timestamp_ms, r.key) for r in records]
    assert places == [
        ("prices", 0, 0, 5, None),
        ("fills", 0, 0, 6, None),
        ("prices", 0, 1, 7, None),
        ("prices", 0, 2, 0, None),
        ("prices", 0, 3, 0, None),
        ("prices", 0, 4, 0, None),
    ]


def test_counting_goes_on_after_an_offset_that_is_given(tmp_path: Path) -> None:
    records = read(
        tmp_path,
        {"topic": "fills", "offset": 40, "value": {}},
        {"topic": "fills", "value": {}},
        {"topic": "fills", "partition": 1, "value": {}},
    )
    assert [(r.partition, r.offset) for r in records] == [(0, 40), (0, 41), (1, 0)]


@pytest.mark.parametrize(
    ("written_value", "value"),
    [
        (
            '{"a":1.0, "a":2, "big":123456789012345678901234567890}',
            b'{"a":1.0, "a":2, "big":123456789012345678901234567890}',
        ),
        ('"not json"', b"not json"),
        ('"{\\"ts_ms\\":1"', b'{"ts_ms":1'),
        ('"\\u00e9"', b"\xc3\xa9"),
        ('""', b""),
        ("[1]", b"[1]"),
        ("null", b"null"),
    ],
)
def test_bytes_reach_the_engine_as_they_are(tmp_path: Path, written_value: str, value: bytes) -> None:
    (record,) = read(tmp_path, f'{{"topic":"fills","value":{written_value}}}')
    assert record.value == value


def test_the_time_of_a_value_in_a_string_counts(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"topic": "fills", "value": '{"ts_ms": 9}'})
    assert record.timestamp_ms == 9


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "[]",
        '{"topic":"fills"}',
        '{"value":{}}',
        '{"topic":1,"value":{}}',
        '{"topic":"fills","offset":-1,"value":{}}',
        '{"topic":"fills","offset":1.5,"value":{}}',
        '{"topic":"fills","timestamp_ms":"1","value":{}}',
        '{"topic":"fills","key":3,"value":{}}',
        '{"topic":"fills","value":{"a":nan}}',
        '{"topic":"fills","value":{}} x',
        '{"topic":"fills","value":"\\ud800"}',
    ],
)
def test_a_bad_line_names_file_and_line(tmp_path: Path, bad: str) -> None:
    path = written(tmp_path, FULL, bad)
    with pytest.raises(RecordingError) as caught:
        list(read_file(path))
    assert str(caught.value).startswith(f"{path}:2: ")


def test_records_before_a_bad_line_are_handed_out_first(tmp_path: Path) -> None:
    records = read_file(written(tmp_path, FULL, "bad"))
    assert next(records) == EXPECTED


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@pytest.mark.parametrize("lost", [1, 8, 30])
def test_a_truncated_file_is_named(tmp_path: Path, form: str, lost: int) -> None:
    path = tmp_path / "cut"
    packed = FORMS[form]("".join(json.dumps({**FULL, "offset": n}) + "\n" for n in range(200)).encode())
    path.write_bytes(packed[:-lost])
    with pytest.raises(RecordingError, match=f"cut: .*{form} data"):
        list(read_file(str(path)))


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_damaged_file_is_named(tmp_path: Path, form: str) -> None:
    path = tmp_path / "damaged"
    packed = bytearray(FORMS[form]((json.dumps(FULL) + "\n").encode() * 50))
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) - len(packed) // 2)
    path.write_bytes(packed)
    with pytest.raises(RecordingError, match="damaged"):
        list(read_file(str(path)))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere: No such file"):
        list(read_file(str(tmp_path / "nowhere")))
    with (
        pytest.raises(RecordingError, match=r"is a folder without manifest\.json"),
        Recording(str(tmp_path)) as recording,
    ):
        list(recording.records())


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings_lines, "MAX_LINE", 1000)
    path = written(tmp_path, FULL, "x" * 200_000)
    with pytest.raises(RecordingError, match=r":2: the line is longer than 1000 bytes"):
        list(read_file(path))


def test_a_compression_bomb_is_unpacked_in_bounded_pieces() -> None:
    packed = zstandard.ZstdCompressor().compress(b"\n" * 50_000_000)
    pieces = recordings_lines._plain(io.BytesIO(packed), "bomb")
    assert max(map(len, pieces)) <= 64 * 1024 * 1024


def test_a_recording_tells_which_topics_it_holds_and_how_many_partitions_they_need(tmp_path: Path) -> None:
    path = written(tmp_path, FULL, {"topic": "prices", "value": {}})
    with Recording(path) as recording:
        assert recording.partitions == {"fills": 4, "prices": 1}
        assert recording.topics == {"fills", "prices"}
        assert recording.manifest is None


def test_a_bad_end_is_told_before_the_first_record(tmp_path: Path) -> None:
    with Recording(written(tmp_path, FULL, "bad")) as recording, pytest.raises(RecordingError, match=r":2: .*: mend"):
        next(recording.records())


def test_headers_may_be_in_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, {**FULL, "headers": [["reason", "late"]]}, FULL)
    with Recording(path) as recording:
        rows = list(recording.rows())
    assert [row.headers for row in rows] == [(("reason", b"late"),), ()]
    assert [(row.offset, row.key, row.value) for row in rows] == [(12, b"a-17", EXPECTED.value)] * 2


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("kafka://", "names no broker"),
        ("kafka://h:1/p?till=3", "till is not an option"),
        ("kafka://h:1?from=yesterday", "'yesterday': expected earliest, epoch milliseconds or a time"),
        ("kafka://h:1?to=earliest", "'earliest': expected now"),
        ("kafka://user:secret@h:1", "must not hold a password"),
    ],
)
def test_a_url_that_says_nothing_is_told(url: str, text: str) -> None:
    with Recording(url) as recording, pytest.raises(RecordingError, match=text):
        recording.check()
