"""Whether a changed schema breaks somebody: those who write what we read, or those who read what we write.

Of a message that is received, everything once accepted must stay accepted: nothing may narrow. Of one that is sent, consumers
must never meet what they were not told of: nothing may widen or disappear. A message that is both is held to both. An
additional optional field is compatible, since readers ignore unknown fields.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

Node = Any  # a JSON Schema: an object, or true or false

LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
INSIDE: Final = ("items", "additionalProperties", "propertyNames")
TAG: Final = "type"


class Change(StrEnum):
    """What kind of incompatible change it is."""

    MESSAGE_REMOVED = "message_removed"
    FIELD_REMOVED = "field_removed"
    FIELD_REQUIRED = "field_required"  # those who write leave it out
    FIELD_OPTIONAL = "field_optional"  # those who read rely on it
    RETYPED = "retyped"
    NARROWED = "narrowed"
    WIDENED = "widened"
    PATTERN_CHANGED = "pattern_changed"  # which of two patterns is wider is not decided here


class Use(Struct, frozen=True, kw_only=True):
    """On which side of a message the product is: it reads it, writes it, or both."""

    received: bool
    sent: bool


class Finding(Struct, frozen=True):
    """One incompatible change: where (`$.margin_tiers[].notional_floor`), of which kind, and what exactly."""

    file: str
    path: str
    change: Change
    detail: str

    def __str__(self) -> str:
        return f"{self.file} {self.path}: {self.change.value.replace('_', ' ')}: {self.detail}"


Found = Iterator[tuple[str, Change, str]]


def compare_all(old: Mapping[str, Node], new: Mapping[str, Node], uses: Mapping[str, Use]) -> list[Finding]:
    """Findings over all schema documents, by file name. A document without predecessor is compatible."""
    findings = []
    for file in sorted(old):
        if file not in new:
            findings.append(Finding(file, "$", Change.MESSAGE_REMOVED, "no message has this schema any more"))
            continue
        findings += [Finding(file, *found) for found in compare(old[file], new[file], uses[file])]
    return findings


def compare(old: Node, new: Node, use: Use) -> list[tuple[str, Change, str]]:
    """Path, kind and detail of each incompatible change from one schema document to another."""
    return list(dict.fromkeys(_Comparison(old, new, use).nodes("$", old, new)))


class _Comparison:
    """Two documents with their definitions, walked in parallel."""

    def __init__(self, old: Node, new: Node, use: Use) -> None:
        self._old, self._new, self._use = old, new, use

    def nodes(self, path: str, old: Node, new: Node) -> Found:
        before, after = _alternatives(old, self._old), _alternatives(new, self._new)
        if _disjoint(before, after):
            yield path, Change.RETYPED, f"from {_named(before)} to {_named(after)}"
            return
        if self._use.received:
            for kind in before.keys() - after.keys():
                yield path, Change.NARROWED, f"{kind} is no longer accepted"
        if self._use.sent:
            for kind in after.keys() - before.keys():
                yield path, Change.WIDENED, f"may now be {kind}"
        for kind in sorted(before.keys() & after.keys()):
            yield from self._constraints(path, before[kind], after[kind])

    def _constraints(self, path: str, old: Node, new: Node) -> Found:
        yield from self._enums(path, old.get("enum"), new.get("enum"))
        yield from self._pattern(path, old.get("pattern"), new.get("pattern"))
        for bound in LOWER_BOUNDS:
            yield from self._bound(path, bound, old.get(bound), new.get(bound), tighter=1)
        for bound in UPPER_BOUNDS:
            yield from self._bound(path, bound, old.get(bound), new.get(bound), tighter=-1)
        for word in INSIDE:
            if word in old or word in new:
                inner = f"{path}{'[]' if word == 'items' else '{}'}"
                yield from self.nodes(inner, old.get(word, {}), new.get(word, {}))
        yield from self._properties(path, old, new)

    def _enums(self, path: str, old: list[Any] | None, new: list[Any] | None) -> Found:
        removed = [value for value in old or () if new is not None and value not in new]
        added = [value for value in new or () if old is not None and value not in old]
        if self._use.received:
            if removed:
                yield path, Change.NARROWED, f"no longer accepts {removed}"
            if old is None and new is not None:
                yield path, Change.NARROWED, f"accepts only {new} now"
        if self._use.sent:
            if added:
                yield path, Change.WIDENED, f"may now be {added}"
            if old is not None and new is None:
                yield path, Change.WIDENED, f"may now be other than {old}"

    def _pattern(self, path: str, old: str | None, new: str | None) -> Found:
        if old == new:
            return
        if old is not None and new is not None:
            yield path, Change.PATTERN_CHANGED, f"from {old} to {new}"
        elif old is None and self._use.received:
            yield path, Change.NARROWED, f"accepts only {new} now"
        elif new is None and self._use.sent:
            yield path, Change.WIDENED, f"may now be other than {old}"

    def _bound(self, path: str, word: str, old: int | None, new: int | None, *, tighter: int) -> Found:
        """`tighter` is the sign of a change of this bound that accepts less."""
        if old == new:
            return
        narrowed = new is not None and (old is None or (new - old) * tighter > 0)
        if narrowed and self._use.received:
            yield path, Change.NARROWED, f"{word} from {old} to {new}"
        if not narrowed and self._use.sent:
            yield path, Change.WIDENED, f"{word} from {old} to {new}"

    def _properties(self, path: str, old: Node, new: Node) -> Found:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield f"{path}.{name}", Change.FIELD_REMOVED, "the field is gone"
        if self._use.received:
            for name in sorted(is_required - was_required):
                yield f"{path}.{name}", Change.FIELD_REQUIRED, "was optional" if name in before else "is new"
        if self._use.sent:
            for name in sorted((was_required - is_required) & after.keys()):
                yield f"{path}.{name}", Change.FIELD_OPTIONAL, "was always present"
        for name in before:
            if name in after:
                yield from self.nodes(f"{path}.{name}", before[name], after[name])


def _alternatives(node: Node, document: Node) -> dict[str, dict[str, Any]]:
    """What a node accepts, by kind of value: "string", "null", "object", ..., or "any" where it does not say.

    The members of a tagged union are kinds of their own, "object order" and "object claim".
    """
    if isinstance(node, bool):
        return {"any": {}} if node else {}
    if "$ref" in node:
        return _alternatives(document["$defs"][node["$ref"].rpartition("/")[2]], document)
    members = node.get("anyOf") or node.get("oneOf")
    if members:
        return {kind: inner for member in members for kind, inner in _alternatives(member, document).items()}
    if "enum" in node:
        kinds = sorted({_kind_of(value) for value in node["enum"]})
        return {kind: {"enum": [value for value in node["enum"] if _kind_of(value) == kind]} for kind in kinds}
    kind = node.get("type", "any")
    tag = node.get("properties", {}).get(TAG, {}).get("enum", ())
    return {f"{kind} {tag[0]}" if len(tag) == 1 else kind: node}


def _kind_of(value: object) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return kinds[type(value)]


def _disjoint(before: Mapping[str, Node], after: Mapping[str, Node]) -> bool:
    """Whether no kind of value is in both, null aside: null alone is no type to keep."""
    old, new = before.keys() - {"null"}, after.keys() - {"null"}
    return bool(old) and bool(new) and not old & new


def _named(kinds: Mapping[str, Node]) -> str:
    return " or ".join(sorted(kinds))
