"""What an operator may tune in the engine. Rates are e18 integers, durations milliseconds of event time."""

from hashlib import blake2b
from itertools import product
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from services.contracts.decimals import ONE
from services.contracts.messages import MarginMode, Segregation


class Ladder(Struct, frozen=True, kw_only=True):
    """Where the rungs of one class of accounts are: shares above the requirement. None: as in the settings."""

    warning_buffer: int | None = None
    margin_call_buffer: int | None = None
    reduce_only_buffer: int | None = None
    rung_hysteresis: int | None = None


class Rungs(Struct, frozen=True, kw_only=True):
    """A ladder without gaps, e18."""

    warning_buffer: int
    margin_call_buffer: int
    reduce_only_buffer: int
    rung_hysteresis: int


ACCOUNT_CLASSES: Final = tuple(":".join(each) for each in product(get_args(Segregation), get_args(MarginMode)))
_NOTHING_OWN: Final = Ladder()
_RUNG_FIELDS: Final = Rungs.__struct_fields__


class Settings(Struct, frozen=True, kw_only=True):
    """Every parameter of decisions that is not an instrument's. The same settings and records give the same effects."""

    account_partitions: int | None = None  # None: records carry no meaningful partition, the check is off
    liquidate_at_equal: bool = False

    account_settle_ms: int = 200
    account_gap_ms: int = 5_000
    provisional_account_ms: int = 1_000
    duplicate_window: int = 256  # ids remembered an account
    transfer_window: int = 4_096  # ids and references remembered to find a transfer's other leg
    parked_fills: int = 64  # fills of unknown instruments held an account
    max_prices: int = 100_000

    grade_prices: bool = True  # False: every tick is believed at once, for looking at state and not for deciding
    future_tolerance_ms: int = 250
    default_price_move: int = ONE // 5
    confirm_band: int = ONE // 50
    confirm_ms: int = 500
    confirm_max_ms: int = 1_500

    hysteresis: int = ONE // 20  # b: how far above the maintenance margin a close aims
    expected_slippage: int = ONE // 1000
    attempt_step: int = ONE // 4
    distress_range: int = ONE // 20  # how far from the mark full distress may go
    half_spread: int = ONE // 5000
    near_sigmas: int = ONE  # kappa
    latency_ms: int = 250
    default_sigma: int = ONE // 5000  # per square root of a second
    max_attempts: int = 8
    max_unfilled_ms: int = 30_000
    order_ttl_ms: int = 2_000
    clock_skew_ms: int = 500

    gap_guard: Literal["off", "cross", "all"] = "off"  # "cross": all but isolated buckets on a flat tier
    gap_z: int = 3 * ONE  # quantile of the expected move, in sigmas
    gap_reaction_ms: int = 2_000  # from the decision until the close has filled

    warning_buffer: int = ONE // 4
    margin_call_buffer: int = ONE // 20
    reduce_only_buffer: int = ONE // 10
    rung_hysteresis: int = ONE // 50
    ladders: dict[str, Ladder] = {}  # "client:cross", and so on: segregation class and margin mode

    def rungs(self, segregation: str, margin_mode: str) -> Rungs:
        """The ladder of a class of accounts; what it does not say is said by the settings."""
        own = self.ladders.get(f"{segregation}:{margin_mode}", _NOTHING_OWN)
        return Rungs(**{name: _chosen(getattr(own, name), getattr(self, name)) for name in _RUNG_FIELDS})


def _chosen(own: int | None, default: int) -> int:
    return default if own is None else own


def settings_id(settings: Settings) -> str:
    """Names a set of parameters, so that people see under which something was decided."""
    return blake2b(msgspec.json.encode(settings, order="sorted"), digest_size=8).hexdigest()
