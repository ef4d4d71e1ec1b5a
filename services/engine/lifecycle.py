"""A bucket's status: which rung of the ladder it stands on. Leaving a rung upward is harder than entering it."""

from typing import Final

from services.contracts.decimals import ONE
from services.engine.settings import Settings
from services.engine.state import Bucket
from services.engine.valuation import Amount, Valuation
from services.engine.worth import Incomplete

LEAVING: Final = frozenset({"liquidating", "bankrupt"})
GOODNESS: Final = {"liquidating": 0, "bankrupt": 0, "reduce_only": 1, "margin_call": 2, "warning": 3, "healthy": 4}
DISTRESSED: Final = LEAVING | {"dirty", "incomplete"}  # a distress goes on until the status is another


def status_of(bucket: Bucket, valuation: Valuation | Incomplete, settings: Settings) -> str:
    """The status that follows from the present numbers and the present status."""
    if bucket.doubts:
        return "dirty"
    if isinstance(valuation, Incomplete):
        return "incomplete"
    if any(order.is_open for order in bucket.orders.values()):
        return "liquidating"
    if valuation.equity < 0:
        return "bankrupt"
    if bucket.is_flat:
        return "closed"
    if bucket.status == "liquidating" and _is_under(valuation.equity, valuation.maintenance, settings.hysteresis):
        return "liquidating"
    return _ladder(bucket.status, valuation, settings)


def _ladder(current: str, valuation: Valuation, settings: Settings) -> str:
    rung = rung_of(valuation, settings, 0)
    if current not in GOODNESS or GOODNESS[rung] <= GOODNESS[current]:
        return rung
    eased = rung_of(valuation, settings, settings.rung_hysteresis)
    return eased if current in LEAVING else max(current, eased, key=GOODNESS.__getitem__)


def rung_of(valuation: Valuation, settings: Settings, extra: int) -> str:
    """The worst rung whose threshold, widened by `extra` of the requirement, the equity is under."""
    if _is_under(valuation.equity, valuation.maintenance, settings.reduce_only_buffer + extra):
        return "reduce_only"
    if _is_under(valuation.equity, valuation.initial, settings.margin_call_buffer + extra):
        return "margin_call"
    if _is_under(valuation.equity, valuation.initial, settings.warning_buffer + extra):
        return "warning"
    return "healthy"


def _is_under(equity: int, requirement: Amount, buffer: int) -> bool:
    """equity < requirement·(1 + buffer) for a requirement that is owed."""
    return requirement > 0 and equity * ONE < requirement * (ONE + buffer)
