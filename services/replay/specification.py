"""Portfolio presets as the reference reads them: the numbers of a checked preset file, without the engine's types."""

from collections.abc import Callable, Mapping
from dataclasses import asdict

from services.engine.portfolio.preset import Preset
from services.reference.scenarios import Scenario, ScenarioPreset


def presets_of(presets: Mapping[str, Preset]) -> Callable[[str], ScenarioPreset | None]:
    """Finds a preset by name among those of the engine."""

    def found(name: str) -> ScenarioPreset | None:
        preset = presets.get(name)
        return None if preset is None else specified(preset)

    return found


def specified(preset: Preset) -> ScenarioPreset:
    sections = (
        preset.vol_shock, preset.margin, preset.basis_contingency, preset.other_contingency, preset.skew_shock,
    )  # fmt: skip
    numbers: dict[str, float] = {name: number for section in sections for name, number in asdict(section).items()}
    scenarios = tuple(Scenario(s.id, s.spot_shock, s.vol_shock.value, s.dampening) for s in preset.scenarios)
    return ScenarioPreset(settlement_window_s=preset.settlement_window_s, scenarios=scenarios, **numbers)
