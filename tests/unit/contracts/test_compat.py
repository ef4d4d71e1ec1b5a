"""A seeded change of each kind is found, on the side that it breaks and only there; compatible changes pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from services.contracts.compat import Change, Use, compare, compare_all
from services.contracts.schemas import schemas

READ = Use(received=True, sent=False)
WRITTEN = Use(received=False, sent=True)
BOTH = Use(received=True, sent=True)

BASE: dict[str, Any] = {
    "type": "object",
    "required": ["id", "side", "quantity"],
    "properties": {
        "id": {"type": "string", "pattern": "^a$", "maxLength": 64},
        "side": {"enum": ["buy", "sell"]},
        "quantity": {"type": "string"},
        "count": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]},
        "tiers": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Tier"}},
        "balances": {
            "type": "object",
            "propertyNames": {"maxLength": 3},
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
    "$defs": {
        "Tier": {"type": "object", "required": ["floor"], "properties": {"floor": {"type": "string"}, "note": {"type": "string"}}}
    },
}  # fmt: skip
UNION: dict[str, Any] = {
    "anyOf": [{"$ref": "#/$defs/Claim"}, {"$ref": "#/$defs/Order"}],
    "$defs": {
        "Claim": {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["claim"]}, "ts": {"type": "integer"}}},
        "Order": {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["order"]}, "ts": {"type": "string"}}},
    },
}  # fmt: skip


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        for part in path[:-1]:
            schema = schema[part]
        schema[path[-1]] = value

    return change


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        for part in path[:-1]:
            schema = schema[part]
        del schema[path[-1]]

    return change


def rename_definition(schema: dict[str, Any]) -> None:
    schema["$defs"]["Step"] = schema["$defs"].pop("Tier")
    schema["properties"]["tiers"]["items"]["$ref"] = "#/$defs/Step"


def changed(base: dict[str, Any], *changes: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    schema = copy.deepcopy(base)
    for change in changes:
        change(schema)
    return schema


P = "properties"
NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}
# Name, change, and what it is for those whose records we read and for those who read ours (None: compatible).
CASES: list[tuple[str, Callable[[dict[str, Any]], None], tuple[str, Change] | None, tuple[str, Change] | None]] = [
    ("field removed", drop(P, "count"), ("$.count", Change.FIELD_REMOVED), ("$.count", Change.FIELD_REMOVED)),
    ("nested field removed", drop("$defs", "Tier", P, "note"),
     ("$.tiers[].note", Change.FIELD_REMOVED), ("$.tiers[].note", Change.FIELD_REMOVED)),
    ("optional field becomes required", put("required", value=["id", "side", "quantity", "count"]),
     ("$.count", Change.FIELD_REQUIRED), None),
    ("required field becomes optional", put("required", value=["id", "side"]), None, ("$.quantity", Change.FIELD_OPTIONAL)),
    ("nested field becomes required", put("$defs", "Tier", "required", value=["floor", "note"]),
     ("$.tiers[].note", Change.FIELD_REQUIRED), None),
    ("new optional field", put(P, "extra", value={"type": "string"}), None, None),
    ("retyped", put(P, "quantity", value={"type": "number"}), ("$.quantity", Change.RETYPED), ("$.quantity", Change.RETYPED)),
    ("retyped inside", put(P, "balances", "additionalProperties", "additionalProperties", value={"type": "integer"}),
     ("$.balances{}{}", Change.RETYPED), ("$.balances{}{}", Change.RETYPED)),
    ("null refused", put(P, "count", value={"type": "integer", "minimum": 0, "maximum": 9}), ("$.count", Change.NARROWED), None),
    ("null possible", put(P, "quantity", value=NULLABLE), None, ("$.quantity", Change.WIDENED)),
    ("enum loses a value", put(P, "side", "enum", value=["buy"]), ("$.side", Change.NARROWED), None),
    ("enum gains a value", put(P, "side", "enum", value=["buy", "sell", "both"]), None, ("$.side", Change.WIDENED)),
    ("enum in another order", put(P, "side", "enum", value=["sell", "buy"]), None, None),
    ("text becomes an enum", put(P, "quantity", value={"enum": ["1"]}), ("$.quantity", Change.NARROWED), None),
    ("enum becomes text", put(P, "side", value={"type": "string"}), None, ("$.side", Change.WIDENED)),
    ("pattern changed", put(P, "id", "pattern", value="^b$"), ("$.id", Change.PATTERN_CHANGED), ("$.id", Change.PATTERN_CHANGED)),
    ("pattern added", put(P, "quantity", "pattern", value="^1$"), ("$.quantity", Change.NARROWED), None),
    ("pattern dropped", drop(P, "id", "pattern"), None, ("$.id", Change.WIDENED)),
    ("shorter text", put(P, "id", "maxLength", value=63), ("$.id", Change.NARROWED), None),
    ("longer text", put(P, "id", "maxLength", value=65), None, ("$.id", Change.WIDENED)),
    ("bound dropped", drop(P, "id", "maxLength"), None, ("$.id", Change.WIDENED)),
    ("higher minimum", put(P, "count", "anyOf", value=[{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]),
     ("$.count", Change.NARROWED), None),
    ("lower minimum", put(P, "count", "anyOf", value=[{"type": "integer", "minimum": -1, "maximum": 9}, {"type": "null"}]),
     None, ("$.count", Change.WIDENED)),
    ("lower maximum", put(P, "count", "anyOf", value=[{"type": "integer", "minimum": 0, "maximum": 8}, {"type": "null"}]),
     ("$.count", Change.NARROWED), None),
    ("more items needed", put(P, "tiers", "minItems", value=2), ("$.tiers", Change.NARROWED), None),
    ("shorter keys", put(P, "balances", "propertyNames", value={"maxLength": 2}), ("$.balances{}", Change.NARROWED), None),
    ("unknown fields refused", put("additionalProperties", value=False), ("${}", Change.NARROWED), None),
    ("words changed", put(P, "id", "description", value="new words"), None, None),
    ("definition renamed", rename_definition, None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reading", "writing"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_change_is_found_where_it_breaks_somebody(
    change: Callable[[dict[str, Any]], None], reading: tuple[str, Change] | None, writing: tuple[str, Change] | None
) -> None:
    new = changed(BASE, change)
    assert new != BASE
    found = {use: [finding[:2] for finding in compare(BASE, new, use)] for use in (READ, WRITTEN, BOTH)}
    assert found[READ] == ([reading] if reading else [])
    assert found[WRITTEN] == ([writing] if writing else [])
    assert found[BOTH] == list(dict.fromkeys(expected for expected in (reading, writing) if expected))


def test_a_new_required_field_is_found_where_others_write() -> None:
    new = changed(
        BASE, put(P, "extra", value={"type": "string"}), put("required", value=["id", "side", "quantity", "extra"])
    )
    assert compare(BASE, new, READ) == [("$.extra", Change.FIELD_REQUIRED, "is new")]
    assert not compare(BASE, new, WRITTEN)


def test_each_member_of_a_tagged_union_is_compared_with_itself() -> None:
    assert not compare(UNION, UNION, BOTH)
    retyped = changed(UNION, put("$defs", "Order", P, "ts", value={"type": "integer"}))
    assert [found[:2] for found in compare(UNION, retyped, BOTH)] == [("$.ts", Change.RETYPED)]
    without = changed(UNION, put("anyOf", value=[{"$ref": "#/$defs/Order"}]))
    assert [found[1:] for found in compare(UNION, without, READ)] == [
        (Change.NARROWED, "object claim is no longer accepted")
    ]
    assert [found[1:] for found in compare(without, UNION, WRITTEN)] == [(Change.WIDENED, "may now be object claim")]


def test_findings_over_files_are_readable() -> None:
    new = changed(BASE, drop(P, "count"))
    found = compare_all(
        {"a.v1.json": BASE, "b.v1.json": BASE}, {"a.v1.json": new, "c.v1.json": BASE}, {"a.v1.json": READ}
    )
    assert [str(finding) for finding in found] == [
        "a.v1.json $.count: field removed: the field is gone",
        "b.v1.json $: message removed: no message has this schema any more",
    ]


def test_our_own_schemas_are_compatible_with_themselves() -> None:
    for schema in schemas().values():
        assert not compare(schema, schema, BOTH)


def test_a_change_of_our_own_schemas_is_found() -> None:
    """The generated documents use no word that the comparison would overlook."""
    old = schemas()
    order = changed(old["liquidation-order"], drop("$defs", "Order", P, "bankruptcy_price"))
    assert ("$.bankruptcy_price", Change.FIELD_REMOVED) in [
        f[:2] for f in compare(old["liquidation-order"], order, WRITTEN)
    ]
    tiers = changed(old["instrument"], put(P, "margin_tiers", "maxItems", value=8))
    assert [f[:2] for f in compare(old["instrument"], tiers, READ)] == [("$.margin_tiers", Change.NARROWED)]
