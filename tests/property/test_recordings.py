"""What is put into a recording comes out again: every byte, in the documented order, however it was cut into files."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters import recordings_parquet
from services.adapters.recordings import Recording
from services.adapters.recordings_folder import Folder
from services.adapters.recordings_manifest import read_manifest
from services.adapters.recordings_merge import merged
from services.adapters.recordings_rows import Row, Stream, record_of
from services.adapters.recordings_writer import open_folder
from tests.support.recordings import add_all, in_order, manifest_for

OPTIONAL_BYTES = st.none() | st.binary(max_size=20)
HEADERS = st.lists(st.tuples(st.text(max_size=5), OPTIONAL_BYTES), max_size=3).map(tuple)
TOPICS = ("prices", "accounts", "fills", "liquidation-orders", "liquidation-orders-shadow", "zebra", "aardvark")


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    """Up to 40 rows of a few partitions, offsets with holes, times that step back now and then."""
    found: list[Row] = []
    for stream in draw(st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 2)), unique=True, max_size=5)):
        offset = draw(st.integers(0, 5))
        for _ in range(draw(st.integers(0, 8))):
            found.append(
                Row(
                    topic=stream[0],
                    partition=stream[1],
                    offset=offset,
                    timestamp_ms=draw(st.integers(0, 6)),
                    key=draw(OPTIONAL_BYTES),
                    value=draw(OPTIONAL_BYTES),
                    headers=draw(HEADERS),
                )
            )
            offset += draw(st.integers(1, 3))
    return found


@settings(max_examples=60)
@given(rows=some_rows(), cuts=st.lists(st.integers(0, 40), max_size=3), group=st.integers(1, 4))
def test_a_recording_gives_back_what_was_put_in(rows: list[Row], cuts: list[int], group: int) -> None:
    """In one file or several, in row groups of any size, with the writer begun anew at each cut."""
    bounds = [0, *sorted(cuts), len(rows)]
    with tempfile.TemporaryDirectory() as name, patch.object(recordings_parquet, "GROUP_ROWS", group):
        folder = Path(name)
        manifest = manifest_for(rows)
        for low, high in pairwise(bounds):
            with open_folder(folder, manifest) as writer:
                add_all(writer, rows[low:high])
                writer.spill()
                writer.commit()
            manifest = read_manifest(folder)
        with Recording(name) as recording:
            assert list(recording.rows()) == in_order(rows)
            assert list(recording.records()) == [record_of(row) for row in in_order(rows)]
            assert recording.topics == {row.topic for row in rows}
        assert manifest.records == len(rows)
        assert Folder(folder).manifest == manifest


@given(rows=some_rows())
def test_the_merge_is_the_documented_order(rows: list[Row]) -> None:
    streams: dict[Stream, list[Row]] = {}
    for row in rows:
        streams.setdefault((row.topic, row.partition), []).append(row)
    assert list(merged(streams)) == in_order(rows)
