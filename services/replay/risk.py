"""`ringfence replay --risk`: the multipliers that a publisher would have written, and how well they were chosen."""

from typing import Any, Final

from services.contracts.codec import encode
from services.contracts.records import Record
from services.engine.risk_fold import RiskFold
from services.engine.settings import Settings
from services.engine.volatility import RiskModel

RISK_TOPIC: Final = "risk-parameters"


class RiskFeed:
    """Puts each computed record right behind the price that it follows from; only watches where the recording holds its own."""

    def __init__(self, model: RiskModel, settings: Settings, *, computes: bool) -> None:
        self._fold = RiskFold(model, settings, computes=computes)
        self._next_offset = 0

    def after(self, record: Record) -> list[Record]:
        """The record, and the computed ones behind it."""
        made = [record]
        for parameters in self._fold.apply(record):
            made.append(
                Record(
                    topic=RISK_TOPIC,
                    partition=0,
                    offset=self._next_offset,
                    timestamp_ms=record.timestamp_ms,
                    key=parameters.instrument.encode(),
                    value=encode(parameters),
                )
            )
            self._next_offset += 1
        return made

    def backtest(self) -> dict[str, dict[str, Any]]:
        """By instrument."""
        return {name: test.line() for name, test in sorted(self._fold.backtests.items())}
