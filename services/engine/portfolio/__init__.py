"""Portfolio margin: one scenario model, all numbers in a preset. Pure; numpy inside, exact integers outside.

`parse_preset` reads a preset, `evaluate` values one bucket, `evaluate_many` values many at once with identical results,
`scenario_pnl` explains one underlying.
"""

from services.engine.portfolio.evaluate import evaluate, evaluate_many, scenario_pnl
from services.engine.portfolio.model import (
    Bucket,
    Expiry,
    Greeks,
    HedgingCollateral,
    OptionLeg,
    Perpetual,
    PortfolioResult,
    Underlying,
)
from services.engine.portfolio.preset import Preset, PresetError, parse_preset

__all__ = [
    "Bucket",
    "Expiry",
    "Greeks",
    "HedgingCollateral",
    "OptionLeg",
    "Perpetual",
    "PortfolioResult",
    "Preset",
    "PresetError",
    "Underlying",
    "evaluate",
    "evaluate_many",
    "parse_preset",
    "scenario_pnl",
]
