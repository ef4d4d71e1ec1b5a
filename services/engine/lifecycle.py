"""A bucket's status: which rung of the ladder it stands on. Leaving a rung upward is harder than entering it."""

from itertools import product
from typing import Final, get_args

from services.contracts.decimals import ONE
from services.contracts.messages import MarginMode, Segregation
from services.engine.settings import Rungs, Settings
from services.engine.state import Account, Bucket
from services.engine.valuation import Amount, Valuation
from services.engine.worth import Incomplete

LEAVING: Final = frozenset({"liquidating", "bankrupt"})
GOODNESS: Final = {"liquidating": 0, "bankrupt": 0, "reduce_only": 1, "margin_call": 2, "warning": 3, "healthy": 4}
DISTRESSED: Final = LEAVING | {"dirty", "incomplete"}  # a distress goes on until the status is another


class Ladders:
    """The status of a bucket by the ladder of its account's class."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        classes = product(get_args(Segregation), get_args(MarginMode))
        self._rungs = {each: settings.rungs(*each) for each in classes}

    def rungs_of(self, account: Account) -> Rungs:
        return self._rungs[account.segregation, account.margin_mode]

    def status_of(self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete) -> str:
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
        if bucket.status == "liquidating" and _is_under(
            valuation.equity, valuation.maintenance, self.settings.hysteresis
        ):
            return "liquidating"
        return _eased(bucket.status, valuation, self.rungs_of(account))


def _eased(current: str, valuation: Valuation, rungs: Rungs) -> str:
    rung = rung_of(valuation, rungs, 0)
    if current not in GOODNESS or GOODNESS[rung] <= GOODNESS[current]:
        return rung
    eased = rung_of(valuation, rungs, rungs.rung_hysteresis)
    return eased if current in LEAVING else max(current, eased, key=GOODNESS.__getitem__)


def rung_of(valuation: Valuation, rungs: Rungs, extra: int) -> str:
    """The worst rung whose threshold, widened by `extra` of the requirement, the equity is under."""
    if _is_under(valuation.equity, valuation.maintenance, rungs.reduce_only_buffer + extra):
        return "reduce_only"
    if _is_under(valuation.equity, valuation.initial, rungs.margin_call_buffer + extra):
        return "margin_call"
    if _is_under(valuation.equity, valuation.initial, rungs.warning_buffer + extra):
        return "warning"
    return "healthy"


def _is_under(equity: int, requirement: Amount, buffer: int) -> bool:
    """equity < requirement·(1 + buffer) for a requirement that is owed."""
    return requirement > 0 and equity * ONE < requirement * (ONE + buffer)
