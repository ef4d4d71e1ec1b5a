"""Presets: every number of the portfolio margin model, read from a JSON file of decimal strings.

A preset names its source in `source`; unknown keys are ignored and noted, a missing or wrong one is a `PresetError` that
names it. Rates and shocks are plain factors (0.05 is 5 %); years have 365 days.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeVar

MAX_BYTES: Final = 1_000_000
MAX_SCENARIOS: Final = 1_000
DEFAULT_SETTLEMENT_WINDOW_S: Final = "1800"
_MAX_DIGITS: Final = 48
_LIMIT: Final = Decimal(1000)  # no factor, power or percentage of the model is meant to be larger
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_MAY_BE_NEGATIVE: Final = frozenset({"linear_c_base", "abs_c_base", "vol_param_static", "vol_param_scale"})
_POSITIVE: Final = frozenset({"spot_shock", "scenario_spot_up", "scenario_spot_down", "dte_floor_days"})
_TEXT_KEYS: Final = frozenset({"source"})


class PresetError(ValueError):
    """The file is not a preset; the message names the key and says what is wrong with it."""


class VolMode(Enum):
    """How a scenario moves implied volatility. Linear and Abs tilt the smile instead of shifting it."""

    NONE = "none"
    UP = "up"
    DOWN = "down"
    LINEAR = "linear"
    ABS = "abs"

    @property
    def is_skew(self) -> bool:
        return self in (VolMode.LINEAR, VolMode.ABS)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolShock:
    """Volatility moves by `range·(30 d / max(time left, dte_floor_days))^power`; the short power up to 30 days."""

    vol_range_up: float
    vol_range_down: float
    short_term_power: float
    long_term_power: float
    dte_floor_days: float
    min_vol_up_shock: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much of the worst loss counts, and the discounts of shocked option value (long: value ≥ 0, short: below)."""

    im_factor: float
    mm_factor: float
    long_rate_add: float
    long_rate_mult: float
    long_static_discount: float
    short_rate_add: float
    short_rate_mult: float
    short_static_discount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BasisContingency:
    """The loss of each expiry alone at two spot moves, times `add_factor + mult_factor·years`: one more scenario."""

    scenario_spot_up: float
    scenario_spot_down: float
    add_factor: float
    mult_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherContingency:
    """Parts of the spot price per perpetual and per naked short option; `im_` comes on top of `mm_`."""

    mm_perp_percent: float
    im_perp_percent: float
    mm_option_percent: float
    im_option_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewShock:
    """How far the wings of the smile move and from which log-moneyness on they stay flat."""

    linear_base_cap: float
    abs_base_cap: float
    linear_c_base: float
    abs_c_base: float
    min_k_star: float
    vol_param_static: float
    vol_param_scale: float
    width_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """spot_shock is a factor on every price of the underlying; dampening scales the scenario's PnL.

    id: `<spot_shock>:<mode>` as in "0.82:up", and "linear" or "abs" for the two tilts of the smile.
    """

    id: str
    spot_shock: float
    vol_shock: VolMode
    dampening: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One complete set of parameters; see portfolio margin in the documentation for the formulas."""

    name: str
    source: str
    settlement_window_s: float
    vol_shock: VolShock
    margin: Margin
    basis_contingency: BasisContingency
    other_contingency: OtherContingency
    skew_shock: SkewShock
    scenarios: tuple[Scenario, ...]


_Section = TypeVar("_Section", VolShock, Margin, BasisContingency, OtherContingency, SkewShock)


def parse_preset(data: bytes, name: str) -> tuple[Preset, list[str]]:
    """The preset in `data`, and notes for people: each unknown key, each scenario that is listed twice.

    Raises PresetError, never anything else, for any bytes.
    """
    body = _object(data)
    notes: list[str] = []
    preset = Preset(
        name=name,
        source=_text(body, "source"),
        settlement_window_s=_number(body, "settlement_window_s", "", default=DEFAULT_SETTLEMENT_WINDOW_S, limit=10**6),
        vol_shock=_section(VolShock, body, "vol_shock", notes),
        margin=_section(Margin, body, "margin", notes),
        basis_contingency=_section(BasisContingency, body, "basis_contingency", notes),
        other_contingency=_section(OtherContingency, body, "other_contingency", notes),
        skew_shock=_section(SkewShock, body, "skew_shock", notes),
        scenarios=_scenarios(body, notes),
    )
    _note_unknown(body, {field.name for field in fields(Preset)} - {"name"}, "", notes)
    return preset, notes


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise PresetError(f"a preset has at most {MAX_BYTES} bytes, this has {len(data)}")
    try:
        body = json.loads(data, object_pairs_hook=_without_repeats)
    except PresetError:
        raise
    except (ValueError, RecursionError) as error:
        raise PresetError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise PresetError("a preset is a JSON object")
    return body


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise PresetError(f"`{next(key for key in keys if keys.count(key) > 1)}` is given twice")
    return result


def _section(kind: type[_Section], body: Mapping[str, Any], key: str, notes: list[str]) -> _Section:
    part = _required(body, key, "")
    if not isinstance(part, dict):
        raise PresetError(f"`{key}` must be an object")
    names = [field.name for field in fields(kind)]
    _note_unknown(part, names, f"{key}.", notes)
    return kind(**{name: _number(part, name, f"{key}.") for name in names})


def _scenarios(body: Mapping[str, Any], notes: list[str]) -> tuple[Scenario, ...]:
    items = _required(body, "scenarios", "")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_SCENARIOS:
        raise PresetError(f"`scenarios` must be a list of 1 to {MAX_SCENARIOS}")
    scenarios = tuple(_scenario(item, f"scenarios[{index}]", notes) for index, item in enumerate(items))
    seen: set[str] = set()
    for scenario in scenarios:
        if scenario.id in seen:
            notes.append(f"the scenario `{scenario.id}` is listed twice")
        seen.add(scenario.id)
    return scenarios


def _scenario(item: object, path: str, notes: list[str]) -> Scenario:
    if not isinstance(item, dict):
        raise PresetError(f"`{path}` must be an object")
    _note_unknown(item, ("spot_shock", "vol_shock", "dampening"), f"{path}.", notes)
    spot_shock = _number(item, "spot_shock", f"{path}.")
    mode_text = _required(item, "vol_shock", f"{path}.")
    mode = next((mode for mode in VolMode if isinstance(mode_text, str) and mode.value == mode_text.lower()), None)
    if mode is None:
        raise PresetError(f"`{path}.vol_shock` must be one of Up, Down, None, Linear, Abs")
    if mode.is_skew and spot_shock != 1.0:
        raise PresetError(f"`{path}.spot_shock` must be 1: a tilt of the smile does not move the spot price")
    scenario_id = mode.value if mode.is_skew else f"{_plain(item['spot_shock'])}:{mode.value}"
    return Scenario(
        id=scenario_id, spot_shock=spot_shock, vol_shock=mode, dampening=_number(item, "dampening", f"{path}.")
    )


def _plain(text: str) -> str:
    """The shortest notation of a non-negative decimal string: no zeros that say nothing."""
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return f"{int(whole)}.{part}" if part else f"{int(whole)}"


def _number(
    part: Mapping[str, Any], key: str, prefix: str, *, default: str | None = None, limit: Decimal | int = _LIMIT
) -> float:
    text = part.get(key, default) if default is not None else _required(part, key, prefix)
    # Length and characters first: a hostile file must not cost more than reading it.
    if not isinstance(text, str) or len(text) > _MAX_DIGITS or not _DECIMAL.fullmatch(text):
        raise PresetError(
            f"`{prefix}{key}` must be a decimal string in plain notation of at most {_MAX_DIGITS} characters"
        )
    value = Decimal(text)
    if abs(value) > limit:
        raise PresetError(f"`{prefix}{key}` must not exceed {limit}")
    if value < 0 and key not in _MAY_BE_NEGATIVE:
        raise PresetError(f"`{prefix}{key}` must not be negative")
    if value <= 0 and key in _POSITIVE:
        raise PresetError(f"`{prefix}{key}` must be positive")
    return float(value)


def _text(body: Mapping[str, Any], key: str) -> str:
    text = body.get(key, "")
    if not isinstance(text, str):
        raise PresetError(f"`{key}` must be text")
    return text


def _required(part: Mapping[str, Any], key: str, prefix: str) -> Any:
    if key not in part:
        raise PresetError(f"`{prefix}{key}` is missing")
    return part[key]


def _note_unknown(part: Mapping[str, Any], known: Collection[str], prefix: str, notes: list[str]) -> None:
    notes.extend(
        f"unknown key `{prefix}{key}` is ignored" for key in part if key not in known and key not in _TEXT_KEYS
    )
