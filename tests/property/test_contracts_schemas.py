"""The type and the JSON Schema of a message refuse the same records, over mutated examples."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.codec import decode, encode
from services.contracts.examples import EXAMPLES, Example
from services.contracts.refusals import Reason, Refusal
from services.contracts.schemas import SCHEMA_TOPICS, schema_of

Path = tuple[str | int, ...]

DECIMALS = [
    "0", "-0", "1", "-1", "00.10", "1.", ".5", "+1", "1e3", "1E-3", "NaN", "Infinity", "-inf", "1_000", "1,5", " 1", "1 ", "1\n", "\n1",
    "٣", "¹", "1.٣", "", "-", "--1", "0x1", "9" * 20, "9" * 21, "0." + "1" * 18, "0." + "1" * 19, "-" + "9" * 20 + "." + "9" * 18,
    "1\u0000", "½",
]  # fmt: skip
IDS = [
    "a", "A-1", "a:b/c@d.e_f-g", ":a", "-a", ".a", "a b", "a\n", "ä", "a" * 64, "a" * 65, "a" * 70, "a" * 71, "*", "*\n", "a*", "a|b",
    "BTC-PERP:long", "x" * 1024, "x" * 1025, "\u00e4" * 1024, "😀" * 1025,
]  # fmt: skip
WORDS = ["buy", "Buy", "sell", "trade", "order", "claim", "type", "ioc", "limit", "instrument", "all", "clear"]
NUMBERS = [
    0, 1, -1, -2, 18, 19, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63) - 1, 253_402_300_799_999, 253_402_300_800_000,
    1.5, -0.25, 1e300, 1e-7,
]  # fmt: skip
OTHERS: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [0, 1],
    [-1, 2],
    [0],
    [0, 1, 2],
    [None],
    [{}],
    {"a": 1},
    {"a b": 1},
    {"a": None},
    {"a": {"b": "1"}},
]
VALUES = st.sampled_from([*DECIMALS, *IDS, *WORDS, *NUMBERS, *OTHERS])
REFUSED_BY_THE_TYPE = {Reason.INVALID_SCHEMA, Reason.INVALID_JSON}


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema_of(name))


def places(node: Any, path: Path = ()) -> Iterator[Path]:
    """The path of everything inside a JSON value."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def container(node: Any, path: Path) -> Any:
    for key in path[:-1]:
        node = node[key]
    return node


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Example, Any]:
    """An example with up to three mutations: replaced, dropped, renamed, repeated or added values."""
    example = draw(st.sampled_from(EXAMPLES))
    value = json.loads(encode(example.message))
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        where = list(places(value))
        if not where:
            break
        path = draw(st.sampled_from(where))
        inside, key = container(value, path), path[-1]
        how = draw(st.sampled_from(["replace", "replace", "drop", "key", "add"]))
        if how == "replace":
            inside[key] = copy.deepcopy(draw(VALUES))
        elif how == "drop":
            del inside[key]
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[0]) if how == "key" else copy.deepcopy(draw(VALUES)))
        elif how == "key":
            inside[draw(st.sampled_from(IDS))] = inside.pop(key)
        else:
            inside[draw(st.sampled_from(IDS))] = copy.deepcopy(draw(VALUES))
    return example, value


def agree(example: Example, value: Any) -> bool:
    """Whether the type refuses `value`; asserts that the schema says the same."""
    decoded = decode(SCHEMA_TOPICS[example.schema].name, json.dumps(value, ensure_ascii=False).encode())
    if isinstance(decoded, Refusal) and decoded.reason is Reason.RECORD_TOO_LARGE:
        return True  # the schema cannot see the size of a record
    refused = isinstance(decoded, Refusal) and decoded.reason in REFUSED_BY_THE_TYPE
    errors = [error.message for error in validator(example.schema).iter_errors(value)]
    assert refused == bool(errors), (decoded, errors, value)
    return refused


@given(mutated())
def test_type_and_schema_refuse_the_same(case: tuple[Example, Any]) -> None:
    assert agree(*case) in {True, False}


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_every_value_in_every_field(example: Example) -> None:
    """Not sampled: each field with each nasty value, so that a decimal pattern is tried wherever there is a decimal."""
    whole = json.loads(encode(example.message))
    verdicts = set()
    for name in whole:
        for nasty in [*DECIMALS, *NUMBERS, *OTHERS, "a\n", "ä", "a" * 65]:
            verdicts.add(agree(example, {**whole, name: nasty}))
        verdicts.add(agree(example, {key: value for key, value in whole.items() if key != name}))
    assert verdicts == {True, False}


def test_what_only_the_type_can_tell() -> None:
    """JSON Schema counts 1.0 as an integer; a record that says 1.0 is refused."""
    example = next(example for example in EXAMPLES if example.name == "price")
    value = {**json.loads(encode(example.message)), "ts_ms": 1.0}
    assert isinstance(decode("prices", json.dumps(value).encode()), Refusal)
    assert validator("price").is_valid(value)
