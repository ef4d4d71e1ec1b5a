"""Portfolio presets from files: those that the package brings, or a folder of one's own."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from services.adapters.ports import Refused
from services.engine.portfolio.preset import Preset, PresetError, parse_preset

SUFFIX = ".json"


def load_presets(folder: Path | None = None) -> dict[str, Preset]:
    """Presets by name, the file's name without its ending.

    Raises:
        Refused: a file cannot be read or is no preset.
    """
    place: Traversable = folder if folder is not None else resources.files("services") / "presets"
    found: dict[str, Preset] = {}
    try:
        for file in sorted(place.iterdir(), key=lambda each: each.name):
            if file.name.endswith(SUFFIX):
                name = file.name.removesuffix(SUFFIX)
                found[name] = parse_preset(file.read_bytes(), name)[0]
    except (OSError, PresetError) as error:
        raise Refused(f"the presets in {place} cannot be loaded: {error}") from error
    return found
