"""Whatever the bytes of a record are: a message or a named refusal, soon, and the same one on any stack."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.codec import DETAIL_LIMIT, decode, encode
from services.contracts.examples import EXAMPLES
from services.contracts.messages import Message
from services.contracts.refusals import Reason, Refusal
from services.contracts.schemas import SCHEMA_TOPICS
from services.contracts.strictness import MAX_DEPTH
from services.contracts.topics import BY_NAME

TOPICS = sorted(topic.name for topic in SCHEMA_TOPICS.values())
RECORDS = [(SCHEMA_TOPICS[example.schema].name, encode(example.message)) for example in EXAMPLES]
BOUND_S = 0.1  # of the processor: what others do on the machine does not count
TRANSFER = b'{"transfer_id":"t","account":"a","asset":"USDT","amount":"1","reason":"deposit","ts_ms":1%b}'

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def verdict(topic: str, value: bytes) -> Message | Refusal:
    """The answer of the codec, which is one of the two, printable and bounded."""
    decoded = decode(topic, value)
    assert isinstance(decoded, (Message, Refusal))
    if isinstance(decoded, Refusal):
        assert len(decoded.detail) <= DETAIL_LIMIT
        assert decoded.detail.isprintable()
        decoded.detail.encode()
    else:
        assert decode(topic, encode(decoded)) == decoded
    return decoded


def is_json(text: str) -> bool:
    """Python's reader also takes NaN and Infinity, which are no JSON."""
    constants: list[str] = []
    json.loads(text, parse_constant=constants.append)
    return not constants


def reason(topic: str, value: bytes) -> Reason | None:
    decoded = verdict(topic, value)
    return decoded.reason if isinstance(decoded, Refusal) else None


@given(st.sampled_from(TOPICS), st.binary(max_size=5000))
def test_arbitrary_bytes(topic: str, value: bytes) -> None:
    assert isinstance(verdict(topic, value), Refusal)


@given(st.sampled_from(TOPICS), JSON)
def test_arbitrary_json(topic: str, value: Any) -> None:
    assert isinstance(verdict(topic, json.dumps(value).encode()), Refusal)


@given(st.sampled_from(RECORDS), st.data())
def test_a_damaged_record(record: tuple[str, bytes], data: st.DataObject) -> None:
    topic, value = record
    start = data.draw(st.integers(min_value=0, max_value=len(value)))
    end = data.draw(st.integers(min_value=start, max_value=min(len(value), start + 20)))
    damaged = value[:start] + data.draw(st.binary(max_size=8)) + value[end:]
    assert verdict(topic, damaged) is not None


@given(st.sampled_from(RECORDS), st.text(max_size=20), JSON)
def test_an_unknown_field_is_ignored_whatever_it_holds(record: tuple[str, bytes], name: str, value: Any) -> None:
    topic, raw = record
    text = json.dumps({"x-" + name: value, **json.loads(raw)}, ensure_ascii=False)
    extended = text.encode()
    if len(extended) > BY_NAME[topic].max_bytes:
        assert reason(topic, extended) is Reason.RECORD_TOO_LARGE
    elif not is_json(text):
        assert reason(topic, extended) is Reason.INVALID_JSON
    else:
        assert decode(topic, extended) == decode(topic, raw)


@given(st.sampled_from(RECORDS), st.data())
def test_a_repeated_key_is_refused_by_name(record: tuple[str, bytes], data: st.DataObject) -> None:
    """Also when it is null, spelled with an escape, or stands apart from its colon."""
    topic, raw = record
    value = json.loads(raw)
    name = data.draw(st.sampled_from(sorted(set(value) - {"type"})))
    message = decode(topic, raw)
    optional = {f.encode_name for f in msgspec.structs.fields(type(message)) if not f.required}
    again = data.draw(st.sampled_from([json.dumps(value[name]), *(["null", " null"] if name in optional else [])]))
    spelled = data.draw(st.sampled_from([f'"{name}"', f'"\\u{ord(name[0]):04x}{name[1:]}"', f'"{name}" \t']))
    repeated = b"{" + f"{spelled}:{again},".encode() + raw[1:]
    assert reason(topic, repeated) is Reason.DUPLICATE_KEY


TEXTS, NUMBERS, ANY = ["null", '"1"'], ["null", "1"], ["null", '"1"', "1", '":null"', '{"x":null}', '[{"x":1}]']
VALUES_OF = {
    "mark_price": TEXTS,
    "mark\\u005fprice": TEXTS,
    "index_price": TEXTS,
    "source": TEXTS,
    "sequence": NUMBERS,
    "x": ANY,
    "x-": ANY,
    "n:null": ANY,
    ":null": ANY,
    'q"source': ANY,
}
MEMBERS = st.lists(
    st.sampled_from(sorted(VALUES_OF)).flatmap(lambda key: st.tuples(st.just(key), st.sampled_from(VALUES_OF[key]))),
    max_size=6,
)


@given(MEMBERS, st.sampled_from([":", ": ", " :"]))
def test_repeated_keys_are_found_exactly(members: list[tuple[str, str]], colon: str) -> None:
    """Against the definition: the keys as JSON spells them, on records made to look alike for a cheap check."""
    names = [json.dumps(key).replace("\\\\u005f", "\\u005f") for key, _ in members]
    texts = [f"{name}{colon}{text}" for name, (_, text) in zip(names, members, strict=True)]
    value = ("{" + ",".join(['"instrument":"I"', '"ts_ms":1', *texts, '"settlement_price":"1"']) + "}").encode()
    read = [json.loads(name) for name in names]
    assert reason("prices", value) is (Reason.DUPLICATE_KEY if len(set(read)) < len(read) else None)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (b',"x":{"a":1,"b":2}', None),
        (b',"x":{"a":1,"a":2}', Reason.DUPLICATE_KEY),
        (b',"x":[{"a":1},{"a":2}]', None),
        (b',"x":1,"x":1', Reason.DUPLICATE_KEY),
        (b',"bucket":"a:b"', None),
        (b',"bucket":null,"bucket":"main"', Reason.DUPLICATE_KEY),
        (b',"x":1e999', None),
        (b',"x":NaN', Reason.INVALID_JSON),
        (b',"x":"\xff"', Reason.INVALID_JSON),
        (b',"\xff":1', Reason.INVALID_JSON),
        (b',"x":"\xed\xa0\x80"', Reason.INVALID_JSON),  # a lone surrogate
        (b',"reference":"\\ud800"', Reason.INVALID_JSON),
        (b',"reference":"\xc3\xa4"', None),
        (b',"x":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1), None),
        (b',"x":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, Reason.INVALID_JSON),
        (b',"x":' + b'{"a":' * 500 + b"1" + b"}" * 500, Reason.INVALID_JSON),
        (b',"reference":"' + b"[{" * 200 + b'"', None),  # brackets in text are text
        (b',"reference":"\\"' + b"[" * 200 + b'"', None),
        (b',"x":[' + b"[]," * 200 + b"[]]", None),  # many, but not deep
        (b"}{", Reason.INVALID_JSON),
    ],
)
def test_what_json_leaves_open_is_decided(extra: bytes, expected: Reason | None) -> None:
    assert reason("transfers", TRANSFER % extra) is expected


def test_an_ignored_number_may_be_longer_than_what_python_converts() -> None:
    statement = b'{"account":"a","balances":{},"positions":{},"through":{},"ts_ms":1,"x":%b}'
    assert reason("account-statements", statement % (b"9" * 5_000)) is None


@pytest.mark.parametrize("value", [b"", b" ", b"\x00", b"\xef\xbb\xbf{}", b'{"a":1', "{}".encode("utf-16")])
def test_what_is_no_json(value: bytes) -> None:
    assert {reason(topic, value) for topic in TOPICS} == {Reason.INVALID_JSON}


@pytest.mark.parametrize("value", [b"null", b"1", b'"x"', b"[]", b"[{}]", b"true", b"{}"])
def test_what_is_no_record(value: bytes) -> None:
    assert {reason(topic, value) for topic in TOPICS} == {Reason.INVALID_SCHEMA}


@pytest.mark.parametrize("topic", TOPICS)
def test_the_bound_of_a_record_is_exact(topic: str) -> None:
    raw = next(value for name, value in RECORDS if name == topic)
    limit = BY_NAME[topic].max_bytes
    assert reason(topic, raw.ljust(limit)) is None
    assert reason(topic, raw.ljust(limit + 1)) is Reason.RECORD_TOO_LARGE


def test_nesting_is_refused_alike_on_any_stack() -> None:
    nested = TRANSFER % (b',"x":' + b"[" * 300 + b"]" * 300)

    def below(frames: int) -> Message | Refusal:
        return below(frames - 1) if frames else decode("transfers", nested)

    assert below(0) == below(600)


def filled(start: bytes, unit: bytes, end: bytes, limit: int) -> bytes:
    """A record of nearly `limit` bytes, most of them repetitions of `unit`."""
    return start + unit * ((limit - len(start) - len(end)) // len(unit)) + end


QUOTED = b'{"' + b"[" * (MAX_DEPTH + 1)  # so many brackets that the depth has to be counted, and none of them counts
SLOW = {
    "brackets": (b"", b"[", b""),
    "objects": (b"", b'{"":', b""),
    "quotes": (QUOTED, b'"', b""),
    "escapes": (QUOTED, b'\\"', b""),
    "backslashes": (QUOTED, b"\\", b""),
    "pairs of brackets": (b"", b"[]", b""),
    "flat lists": (b'{"x":[', b"[],", b"[]]}"),
    "keys": (b'{"a":1', b',"a":1', b"}"),
    "digits": (b'{"ts_ms":', b"9", b"}"),
    "fraction": (b'{"ts_ms":0.', b"9", b"}"),
    "decimal": (b'{"amount":"', b"9", b'"}'),
    "not utf-8": (b'{"x":"', b"\xc3\xa4", b'\xff"}'),
    "white space": (b"{", b" ", b"}"),
}


@pytest.mark.parametrize("shape", SLOW)
@pytest.mark.parametrize("topic", ["transfers", "account-statements", "liquidation-orders"])
def test_a_record_of_the_greatest_length_is_refused_soon(topic: str, shape: str) -> None:
    value = filled(*SLOW[shape], BY_NAME[topic].max_bytes)
    taken = []
    for _ in range(3):
        before = time.process_time()
        assert reason(topic, value) is not None
        taken.append(time.process_time() - before)
    assert min(taken) < BOUND_S


def test_well_formed_records_of_the_greatest_length_are_decided_soon() -> None:
    """The second parse, for repeated keys, is bounded too."""
    head = b'{"account":"a","balances":{"b":{'
    tail = b'"z":"1"}},"positions":{},"through":{},"ts_ms":1,"ts_ms":1}'
    middle = b"".join(b'"a%d":"1",' % number for number in range(5_000))
    before = time.process_time()
    assert reason("account-statements", head + middle + tail) is Reason.DUPLICATE_KEY
    assert time.process_time() - before < BOUND_S
