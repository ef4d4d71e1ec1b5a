"""A plain fill is what the codec reads: whatever the bytes."""

from __future__ import annotations

import json
import re

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.contracts.codec import decode, encode
from services.contracts.messages import BUCKET_PATTERN, ID_PATTERN, Fill
from services.contracts.plain_fills import PlainFill, plain_fill
from services.contracts.topics import BY_NAME

PLAIN = {"fill_id": "f-1", "account": "a", "instrument": "I", "side": "buy", "quantity": "1", "price": "10", "ts_ms": 1}
NUMBERS = [
    '"1"', '"1.5"', '"0"', '"0.00"', '"-1"', '"-0"', '"1e3"', '"1 1"', '" 1"', '"1."', '".5"', "null", "1", '"\\u0031"', '"\u0661"', '""',
    '"123456789012345678901"', '"0.0000000000000000001"', '"1\\n"', '"+1"',
]  # fmt: skip
IDS = ['"x"', '"x y"', '""', '"x:1"', "null", "1", '"\u00e4"', '"x\\n"', '"-x"', f'"{"x" * 64}"', f'"{"x" * 65}"', '"x']
FIELDS: dict[str, list[str]] = {
    "fill_id": IDS, "account": IDS, "instrument": IDS, "bucket": [*IDS, f'"{"x" * 70}"', f'"{"x" * 71}"'], "fee_asset": IDS, "order_id": IDS,
    "quantity": NUMBERS, "price": NUMBERS, "fee": NUMBERS, "side": ['"buy"', '"sell"', '"hold"', "null"],
    "position_side": ['"net"', '"long"', '"both"', "null"], "exec_type": ['"trade"', '"settlement"', '"gift"', "null"],
    "ts_ms": ["1", "-1", "1e3", "1.5", "253402300799999", "253402300800000", '"1"'], "account_sequence": ["1", "-1", "null", "9223372036854775808"],
    "unknown": ["1", "null", "{}", '{"x":[[]]}', '":"', "[" * 50 + "]" * 50, '"\\ud800"'],
}  # fmt: skip
MEMBER = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.tuples(
        st.sampled_from([name, name, name, f"\\u{ord(name[0]):04x}{name[1:]}"]), st.sampled_from(FIELDS[name])
    )
)


def written(members: list[tuple[str, str]], repeats: bool, space: str) -> bytes:
    """The plain fill with some fields added, in the place of those of the same name, or beside them."""
    named = {name for name, _ in members}
    kept = [(name, json.dumps(value)) for name, value in PLAIN.items() if repeats or name not in named]
    return ("{" + f",{space}".join(f'"{name}":{space}{value}' for name, value in [*kept, *members]) + "}").encode()


STRANGE = st.builds(
    written,
    st.lists(MEMBER, max_size=3),
    st.sampled_from([False, False, False, True]),
    st.sampled_from(["", "", "\n"]),
)


@settings(max_examples=400)
@given(st.one_of(STRANGE, STRANGE, st.just(orjson.dumps(PLAIN)), st.binary(max_size=30)))
@example(orjson.dumps(PLAIN).ljust(BY_NAME["fills"].max_bytes + 1))
@example(orjson.dumps(PLAIN | {"unknown": 1}))
@example(orjson.dumps(PLAIN)[:-1] + b',"price":"11"}')
def test_a_plain_fill_is_what_the_codec_reads(value: bytes) -> None:
    """But for what is left to the caller: the ids under which it will find something, or nothing."""
    fill = plain_fill(value)
    if fill is None:
        return
    ids = [
        (fill.account, ID_PATTERN),
        (fill.instrument, ID_PATTERN),
        (fill.bucket, BUCKET_PATTERN),
        (fill.fee_asset, ID_PATTERN),
    ]
    if not all(name is None or re.fullmatch(pattern, name) for name, pattern in ids):
        return
    message = decode("fills", value)
    assert isinstance(message, Fill), message
    assert msgspec.structs.asdict(message) == msgspec.structs.asdict(fill)
    assert encode(message) == encode(fill), "what its digest is taken of"


@pytest.mark.parametrize("more", [
    {}, {"fee": "0.1"}, {"fee": "-0.05", "fee_asset": "USDT"}, {"bucket": "main", "account_sequence": 7}, {"position_side": "long"},
])  # fmt: skip
def test_what_venues_send_is_plain(more: dict[str, object]) -> None:
    value = orjson.dumps(PLAIN | more)
    message = decode("fills", value)
    assert isinstance(message, Fill)
    found = plain_fill(json.dumps(PLAIN | more, indent=1).encode())
    assert found is not None
    assert msgspec.structs.asdict(found) == msgspec.structs.asdict(message)


def test_the_fields_of_a_plain_fill_are_those_of_a_fill() -> None:
    assert PlainFill.__struct_encode_fields__ == Fill.__struct_encode_fields__
