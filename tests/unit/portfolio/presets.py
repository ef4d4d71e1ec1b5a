"""Presets for tests: the shipped ones, and variants of them with some numbers replaced."""

import json
from pathlib import Path
from typing import Any

from services.engine.portfolio import Preset, parse_preset

FOLDER = Path(__file__).resolve().parents[3] / "services" / "presets"
SHIPPED = ("derive-pm1", "derive-pm2", "derive-pm2-mainnet", "span-like")


def body(name: str = "derive-pm2") -> dict[str, Any]:
    """The JSON of a shipped preset, to be changed freely."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return loaded


def parse(changed: dict[str, Any]) -> Preset:
    preset, notes = parse_preset(json.dumps(changed).encode(), "test")
    assert notes == []
    return preset


def preset(name: str = "derive-pm2", **sections: dict[str, str]) -> Preset:
    """A shipped preset with numbers of its sections replaced: `preset(margin={"mm_factor": "1"})`."""
    changed = body(name)
    for section, numbers in sections.items():
        assert numbers.keys() <= changed[section].keys(), "a number that the preset has"
        changed[section].update(numbers)
    return parse(changed)


def with_scenarios(*scenarios: tuple[str, str, str], name: str = "derive-pm2") -> Preset:
    """A shipped preset with other scenarios: (spot_shock, vol_shock, dampening)."""
    keys = ("spot_shock", "vol_shock", "dampening")
    return parse({**body(name), "scenarios": [dict(zip(keys, scenario, strict=True)) for scenario in scenarios]})
