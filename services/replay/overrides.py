"""What-if: `--set SCOPE.….FIELD=VALUE` rewrites settings of the engine and records of instruments and collateral.

`risk.FIELD=VALUE` is one of the model behind `--risk`, `venue.latency_ms=VALUE` how long an order travels before the matching sees it, `engine.FIELD=VALUE` a setting, `engine.ladders.client:cross.FIELD=VALUE` a rung of one class of accounts. `instrument.ID.FIELD=VALUE` and `collateral.ASSET.FIELD=VALUE` replace a field in every record of
that id; `margin_tiers.N.FIELD` names one tier (from 0), and a tier's field without `margin_tiers` means every tier. A maintenance
rate lifts the initial rate where that would be lower. `null` takes a field away.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn, get_args, get_type_hints

import orjson
from msgspec import Struct, structs

from services.contracts.codec import decode
from services.contracts.decimals import UNSIGNED_PATTERN, parse
from services.contracts.messages import Collateral, Instrument, MarginTier, Message
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.engine.settings import ACCOUNT_CLASSES, Ladder, Settings
from services.engine.volatility import RiskModel

SCOPES: Final[dict[str, tuple[str, str, type[Message]]]] = {
    "instrument": ("instruments", "instrument", Instrument),
    "collateral": ("collateral", "asset", Collateral),
}
LADDERS: Final = "engine.ladders."
PARAMETERS: Final = (
    "engine",
    "risk",
    "venue",
)  # scopes that are no records: settings, the model of `--risk`, what answers
TIER_FIELDS: Final = frozenset(f.name for f in structs.fields(MarginTier))
COUNTS: Final = frozenset(
    {"account_partitions", "duplicate_window", "transfer_window", "parked_fills", "max_prices", "max_attempts"}
)
DEDUCTION_OF: Final = {"maintenance_margin_rate": "maintenance_deduction", "initial_margin_rate": "initial_deduction"}


class OverrideError(ValueError):
    """A `--set` that cannot be meant; the message says what is wrong with which."""


class Override(Struct, frozen=True, kw_only=True):
    """One `--set` of a record: the topic and id it applies to, and the path of the field."""

    text: str
    topic: str
    id_field: str
    id: str
    path: tuple[str, ...]
    value: str | None


class Venue(Struct, frozen=True, kw_only=True):
    """What the simulated venue is like: orders reach it `latency_ms` after they were decided."""

    latency_ms: int = 0


class Overrides:
    """All of one run. Settings first, then records as they come by; `unused` tells those that met no record."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.changes = dict(_assignment(text) for text in texts)
        self._records = [o for text in texts if (o := _record_override(text)) is not None]
        self._met: set[str] = set()

    def settings(self, settings: Settings) -> Settings:
        """`settings` with the `engine.` overrides. Raises `OverrideError`."""
        changes = {
            target.removeprefix("engine."): _setting(target.removeprefix("engine."), value)
            for target, value in self.changes.items()
            if target.startswith("engine.") and not target.startswith(LADDERS)
        }
        return structs.replace(settings, **changes, ladders=self._ladders(settings))

    def _ladders(self, settings: Settings) -> dict[str, Ladder]:
        """`engine.ladders.CLASS.FIELD`: a rung of one class of accounts."""
        ladders = dict(settings.ladders)
        for target, value in self.changes.items():
            if target.startswith(LADDERS):
                name, _, rung = target.removeprefix(LADDERS).partition(".")
                if name not in ACCOUNT_CLASSES or rung not in Ladder.__struct_fields__:
                    raise OverrideError(
                        f"--set {target}={value}: engine.ladders.CLASS.RUNG, CLASS one of {', '.join(ACCOUNT_CLASSES)}"
                    )
                ladders[name] = structs.replace(ladders.get(name, Ladder()), **{rung: _setting(rung, value)})
        return ladders

    def risk_model(self) -> RiskModel:
        """The default model of multipliers with the `risk.` overrides. Raises `OverrideError`."""
        try:
            return structs.replace(RiskModel(), **self._chosen("risk", RiskModel))
        except ValueError as error:
            raise OverrideError(f"--set risk: {error}") from error

    def venue(self) -> Venue:
        """The venue with the `venue.` overrides. Raises `OverrideError`."""
        return structs.replace(Venue(), **self._chosen("venue", Venue))

    def _chosen(self, scope: str, kind: type[RiskModel] | type[Venue]) -> dict[str, Any]:
        prefix = f"{scope}."
        return {
            target.removeprefix(prefix): _setting(target.removeprefix(prefix), value, kind)
            for target, value in self.changes.items()
            if target.startswith(prefix)
        }

    def records(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records with their fields replaced. Raises `OverrideError` where the result would be refused."""
        return map(self.record, records)

    def record(self, record: Record) -> Record:
        """One of them."""
        for override in self._records:
            if override.topic == record.topic:
                record = self._applied(override, record)
        return record

    @property
    def unused(self) -> list[str]:
        """The overrides whose instrument or asset no record named."""
        return [override.text for override in self._records if override.text not in self._met]

    def _applied(self, override: Override, record: Record) -> Record:
        if isinstance(decode(record.topic, record.value), Refusal):
            return record
        body: dict[str, Any] = orjson.loads(record.value)
        if body[override.id_field] != override.id:
            return record
        _assign(body, override)
        value = orjson.dumps(body)
        refusal = decode(record.topic, value)
        if isinstance(refusal, Refusal):
            raise OverrideError(f"--set {override.text}: {refusal.reason}: {refusal.detail}")
        self._met.add(override.text)
        return structs.replace(record, value=value)


SCOPE_OF: Final[dict[type[Any], str]] = {Settings: "engine", RiskModel: "risk", Venue: "venue"}


def _assignment(text: str) -> tuple[str, str]:
    target, equals, value = text.partition("=")
    scope = target.partition(".")[0]
    if not equals or not target or not value:
        raise OverrideError(f"--set {text}: expected SCOPE.FIELD=VALUE")
    if scope not in PARAMETERS and scope not in SCOPES:
        raise OverrideError(f"--set {text}: {scope!r} is none of {', '.join((*PARAMETERS, *SCOPES))}")
    return target, value


def _record_override(text: str) -> Override | None:
    target, value = _assignment(text)
    scope, _, rest = target.partition(".")
    if scope in PARAMETERS:
        return None
    topic, id_field, message = SCOPES[scope]
    path = _path(rest, message)
    name = rest.removesuffix("." + ".".join(path))
    if not path or name == rest:
        raise OverrideError(f"--set {text}: {scope}.ID.FIELD, where FIELD is one of {', '.join(_settable(message))}")
    return Override(
        text=text, topic=topic, id_field=id_field, id=name, path=path, value=None if value == "null" else value
    )


def _path(rest: str, message: type[Message]) -> tuple[str, ...]:
    """The field's path at the end of `rest`; ids may hold dots, so it is read from the right."""
    parts = rest.split(".")
    if len(parts) > 3 and parts[-3] == "margin_tiers" and parts[-2].isdigit() and parts[-1] in TIER_FIELDS:
        return tuple(parts[-3:])
    return (parts[-1],) if len(parts) > 1 and parts[-1] in _settable(message) else ()


def _settable(message: type[Message]) -> list[str]:
    lists = {"margin_tiers", "option_margin", "weight_tiers", "initial_weight_tiers", "chains", "instrument", "asset"}
    names = [field.name for field in structs.fields(message) if field.name not in lists]
    return names + sorted(TIER_FIELDS) if message is Instrument else names


def _assign(body: dict[str, Any], override: Override) -> None:
    name = override.path[-1]
    if len(override.path) == 3:
        number = int(override.path[1])
        if number >= len(body["margin_tiers"]):
            raise OverrideError(f"--set {override.text}: there are {len(body['margin_tiers'])} tiers")
        _assign_tier(body["margin_tiers"][number], name, override.value)
    elif name in TIER_FIELDS:
        for tier in body["margin_tiers"]:
            _assign_tier(tier, name, override.value)
    else:
        body[name] = _typed(name, override.value)


def _assign_tier(tier: dict[str, Any], name: str, value: str | None) -> None:
    """A new rate voids the deduction that went with the old one: it is derived again."""
    tier[name] = value
    if name in DEDUCTION_OF:
        tier[DEDUCTION_OF[name]] = None
    initial = tier.get("initial_margin_rate")
    if name == "maintenance_margin_rate" and value is not None and initial is not None and _is_below(initial, value):
        tier["initial_margin_rate"] = value


def _is_below(rate: str, other: str) -> bool:
    try:
        return parse(rate) < parse(other)
    except ValueError:
        return False  # not a decimal: the check of the changed record says so


def _typed(name: str, value: str | None) -> str | int | None:
    """Times and `decimals` are integers on the wire, all else text."""
    is_integer = name.endswith("_ms") or name == "decimals"
    return int(value) if value is not None and is_integer and value.isdigit() else value


def _setting(name: str, value: str, kind: type[Settings] | type[RiskModel] | type[Venue] = Settings) -> Any:
    """The value of a setting: times and counts are integers, switches true or false, choices one of their words, all else decimal rates."""
    scope, known = SCOPE_OF[kind], kind.__struct_fields__
    if name not in known or name == "ladders":
        raise OverrideError(f"--set {scope}.{name}: no such setting; there are {', '.join(known)}")
    try:
        default = getattr(kind(), name)
        if isinstance(default, bool):
            return {"true": True, "false": False}[value]
        if isinstance(default, str):
            return value if value in get_args(get_type_hints(kind)[name]) else _refuse(value)
        if name.endswith("_ms") or name in COUNTS:
            return _natural(value)
        return parse(value) if re.search(UNSIGNED_PATTERN, value) else _refuse(value)
    except (KeyError, ValueError) as error:
        raise OverrideError(f"--set {scope}.{name}={value}: not a value of this setting") from error


def _natural(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() else _refuse(value)


def _refuse(value: str) -> NoReturn:
    raise ValueError(value)
