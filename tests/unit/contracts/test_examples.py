"""Types, schemas and golden bytes say the same thing, and the story that the examples tell adds up."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from services.contracts import messages
from services.contracts.codec import decode, encode
from services.contracts.examples import EXAMPLES, ORDER, PARTITION, PERPETUAL, Example
from services.contracts.identifiers import order_id
from services.contracts.messages import Message
from services.contracts.published import files
from services.contracts.schemas import DIALECT, SCHEMA_TOPICS, schema_of

COMMITTED = Path(__file__).resolve().parents[3] / "schemas"
IDS = [example.name for example in EXAMPLES]


def set_somewhere(schema: dict[str, Any], examples: list[dict[str, Any]]) -> set[str]:
    """The fields of a message that no example sets."""
    branches = [schema, *(schema["$defs"][b["$ref"].rpartition("/")[2]] for b in schema.get("anyOf", ()))]
    named = {name for branch in branches for name in branch.get("properties", ())}
    return named - {name for example in examples for name, value in example.items() if value is not None}


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_an_example_survives_the_wire(example: Example) -> None:
    raw = encode(example.message)
    decoded = decode(SCHEMA_TOPICS[example.schema].name, raw)
    assert decoded == example.message
    assert isinstance(decoded, Message)
    assert encode(decoded) == raw


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_the_golden_bytes_are_committed_and_valid(example: Example) -> None:
    golden = (COMMITTED / "examples" / f"{example.name}.json").read_bytes()
    assert golden == encode(example.message)
    schema = json.loads((COMMITTED / f"{example.schema}.v1.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(golden))


@pytest.mark.parametrize("name", SCHEMA_TOPICS)
def test_a_schema_is_a_schema_with_valid_examples_that_set_every_field(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"urn:ringfence:schema:{name}:v1"
    assert schema["title"]
    assert schema["description"]
    assert schema["examples"]
    for example in schema["examples"]:
        jsonschema.Draft202012Validator(schema).validate(example)
    assert not set_somewhere(schema, schema["examples"])


def test_the_committed_files_are_the_generated_ones() -> None:
    committed = {p.relative_to(COMMITTED).as_posix(): p.read_bytes() for p in COMMITTED.rglob("*") if p.is_file()}
    assert committed == files()


def test_every_optional_field_of_every_type_is_absent_when_null() -> None:
    """Also what the codec's proof of unique keys rests on: a field that is set was in the record."""
    structs = [t for t in vars(messages).values() if isinstance(t, type) and issubclass(t, msgspec.Struct)]
    optional = [(struct, field) for struct in structs for field in msgspec.structs.fields(struct) if not field.required]
    assert len(optional) > 60
    for struct, field in optional:
        assert field.default is None, (struct, field.name)
        msgspec.json.Decoder(field.type).decode(b"null")


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_null_and_absent_optional_fields_decode_alike(example: Example) -> None:
    topic = SCHEMA_TOPICS[example.schema].name
    whole = json.loads(encode(example.message))
    optional = {field.encode_name for field in msgspec.structs.fields(type(example.message)) if not field.required}
    for name in optional:
        null = decode(topic, json.dumps({**whole, name: None}).encode())
        absent = decode(topic, json.dumps({key: value for key, value in whole.items() if key != name}).encode())
        assert null == absent, name


def test_the_numbers_of_the_order_follow_from_the_story() -> None:
    balance, quantity, entry, mark = Fraction("987.2"), Fraction("0.5"), Fraction("64123.5"), Fraction(ORDER.mark_price)
    closed, limit = Fraction(ORDER.quantity), Fraction(ORDER.limit_price)
    rate = Fraction(PERPETUAL.margin_tiers[0].maintenance_margin_rate)
    fee = Fraction(PERPETUAL.taker_fee_rate or 0) * closed * limit
    equity = balance + quantity * (mark - entry)
    assert Fraction(ORDER.equity) == equity
    assert Fraction(ORDER.maintenance_margin) == rate * quantity * mark
    assert Fraction(ORDER.projected_equity) == equity - closed * (mark - limit) - fee
    assert Fraction(ORDER.projected_maintenance_margin) == rate * (quantity - closed) * mark
    root = (quantity * entry - balance) / (quantity * (1 - rate))
    assert root <= Fraction(ORDER.liquidation_price or 0) < root + Fraction("0.1")
    assert Fraction(ORDER.bankruptcy_price or 0) == (quantity * entry - balance) / quantity
    assert Fraction(ORDER.equity) < Fraction(ORDER.maintenance_margin)
    assert Fraction(ORDER.projected_equity) >= Fraction(ORDER.projected_maintenance_margin)


def test_the_identities_of_the_order_are_right() -> None:
    assert ORDER.order_id == order_id(ORDER.account, ORDER.bucket, ORDER.instrument, ORDER.attempt)
    assert ORDER.evidence.liquidation_orders == [PARTITION, ORDER.epoch]
    assert ORDER.evidence.fills is not None
    assert ORDER.evidence.fills[0] == PARTITION
