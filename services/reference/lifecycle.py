"""What becomes of orders and buckets: reserves, projection, and the ladder of statuses."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.contracts.messages import Order
from services.engine.settings import Rungs, Settings
from services.reference.curves import plain
from services.reference.holdings import Holdings, Market, Position, Valuation
from services.reference.ledger import cash_of, rounded_cost
from services.reference.rounding import ceil_e18, exact, floor_e18, from_e18
from services.reference.state import AccountBook, Bucket, OrderState
from services.reference.valuation import notional

RUNGS: Final = ("healthy", "warning", "margin_call", "reduce_only")
WORST: Final = len(RUNGS)  # liquidating and bankrupt are below every rung
NOT_A_RECOVERY: Final = frozenset({"liquidating", "bankrupt", "dirty", "incomplete"})


def reserve(state: OrderState, filled: Fraction) -> Fraction:
    """What may still fill: the quantity less its fills; after a terminal event what that says was filled less its fills."""
    if state.is_terminal:
        return promised(state, filled)
    return Fraction(0) if state.order is None else max(Fraction(0), exact(state.order.quantity) - filled)


def promised(state: OrderState, filled: Fraction) -> Fraction:
    """What a terminal event says was filled and nobody has seen; a conversion comes back as transfers, which carry no order id."""
    is_conversion = state.order is not None and state.order.stage == "convert"
    return max(Fraction(0), state.reported - filled) if state.is_terminal and not is_conversion else Fraction(0)


def is_open(state: OrderState, filled: Fraction) -> bool:
    """Known and not over."""
    return state.order is not None and not is_over(state, filled)


def is_over(state: OrderState, filled: Fraction) -> bool:
    """Read back, and nothing of it can come any more."""
    return state.confirmed and reserve(state, filled) == 0 and (state.is_terminal or filled > 0)


def end_distress(book: AccountBook, bucket: Bucket) -> None:
    """The orders of it that are over are forgotten: whatever is read of them later is no order of ours."""
    over = {name for name, state in bucket.orders.items() if is_over(state, book.filled.get(name, Fraction(0)))}
    bucket.orders = {name: state for name, state in bucket.orders.items() if name not in over}
    bucket.forgotten |= over
    bucket.distress = None


def open_orders(book: AccountBook, bucket: Bucket) -> list[tuple[Order, Fraction]]:
    """The bucket's open orders by attempt, each with what is reserved for it, issued and not yet read back included."""
    found = [
        (state.order, reserve(state, book.filled.get(order_id, Fraction(0))))
        for order_id, state in bucket.orders.items()
        if state.order is not None and is_open(state, book.filled.get(order_id, Fraction(0)))
    ]
    return sorted(found, key=lambda pair: (pair[0].instrument, pair[0].attempt))


def next_attempt(bucket: Bucket, instrument: str) -> int:
    issued = [
        s.order.attempt for s in bucket.orders.values() if s.order is not None and s.order.instrument == instrument
    ]
    return 1 + max([bucket.attempts.get(instrument, 0), *issued])


def projected(holdings: Holdings, orders: Iterable[tuple[Order, Fraction]], market: Market) -> Holdings:
    """Every open order filled for the rest of its quantity at its limit, plus the taker fee, as the ledger would fold it; converts left out."""
    for order, quantity in orders:
        if order.stage != "convert":
            holdings = closed(holdings, market, order, quantity)
    return holdings


def closed(holdings: Holdings, market: Market, order: Order, quantity: Fraction) -> Holdings:
    """After `quantity` contracts (at most the position: orders are reduce-only) were closed at the order's limit.

    Rounded as the ledger rounds: the cash down, the fee up.
    """
    leg = (order.instrument, order.position_side)
    position, price = holdings.position(leg), exact(order.limit_price)
    if position is None or position.sign == (1 if order.side == "buy" else -1):
        return holdings
    spec = market.spec(position.instrument)
    traded = -position.sign * min(quantity, abs(position.quantity))
    cash = from_e18(floor_e18(cash_of(spec, traded, price)))
    cash -= from_e18(ceil_e18(spec.taker_fee * plain(notional(spec, traded, price))))
    balances = {**holdings.balances, spec.settlement: holdings.balances.get(spec.settlement, Fraction(0)) + cash}
    left = position.quantity + traded
    rest = Position(*leg, left, rounded_cost(position.open_cost * left / position.quantity))
    positions = tuple(rest if p.leg == leg else p for p in holdings.positions if p.leg != leg or left)
    return Holdings(balances, positions)


def breaches(valuation: Valuation, holdings: Holdings, settings: Settings) -> bool:
    """MM > 0 and equity < MM, strictly unless configured; or equity < 0 with something to close or convert."""
    equity, maintenance = plain(valuation.equity), plain(valuation.maintenance_margin)
    if maintenance > 0 and (equity < maintenance or (settings.liquidate_at_equal and equity == maintenance)):
        return True
    return equity < 0 and bool(holdings.positions or any(balance > 0 for balance in holdings.balances.values()))


@dataclass(frozen=True)
class Condition:
    """What the status of a bucket follows from. `valuation` None: incomplete. `rungs`: its account's class decides."""

    rungs: Rungs
    is_dirty: bool
    has_open_order: bool
    is_empty: bool
    valuation: Valuation | None


def status_of(previous: str, condition: Condition, settings: Settings) -> str:
    """The first that holds; leaving is harder than entering."""
    if condition.is_dirty:
        return "dirty"
    if condition.valuation is None:
        return "incomplete"
    if condition.has_open_order:
        return "liquidating"
    equity = plain(condition.valuation.equity)
    if equity < 0:
        return "bankrupt"
    if condition.is_empty:
        return "closed"
    if previous == "liquidating":
        target = (1 + from_e18(settings.hysteresis)) * plain(condition.valuation.maintenance_margin)
        if equity < target:
            return "liquidating"
    return _rung(previous, condition.valuation, condition.rungs)


def _rung(previous: str, valuation: Valuation, rungs: Rungs) -> str:
    now = rung_at(valuation, rungs, Fraction(0))
    before = _rank(previous, now)
    if now >= before:
        return RUNGS[now]
    eased = rung_at(valuation, rungs, from_e18(rungs.rung_hysteresis))
    return RUNGS[min(before, eased, WORST - 1)]


def _rank(previous: str, otherwise: int) -> int:
    if previous in RUNGS:
        return RUNGS.index(previous)
    return WORST if previous in ("liquidating", "bankrupt") else otherwise


def rung_at(valuation: Valuation, rungs: Rungs, further: Fraction) -> int:
    """Index into `RUNGS` with every buffer widened by `further`."""
    equity = plain(valuation.equity)
    initial, maintenance = plain(valuation.initial_margin), plain(valuation.maintenance_margin)

    def under(requirement: Fraction, buffer: int) -> bool:
        return requirement > 0 and equity < requirement * (1 + from_e18(buffer) + further)

    if under(maintenance, rungs.reduce_only_buffer):
        return 3
    if under(initial, rungs.margin_call_buffer):
        return 2
    return 1 if under(initial, rungs.warning_buffer) else 0
