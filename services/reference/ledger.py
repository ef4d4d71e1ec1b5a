"""The cash model: facts added up. A position is a quantity; what it cost has already moved the balance."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from services.contracts.messages import Fill, Transfer
from services.reference.curves import plain
from services.reference.holdings import Holdings, Leg, Position
from services.reference.rounding import COST_PLACES, exact, floor_e18, from_e18, round_half_even
from services.reference.specs import Spec
from services.reference.valuation import notional

COST_UNIT: Final = Fraction(1, 10**COST_PLACES)


@dataclass
class Ledger:
    """One bucket. Amounts are multiples of 1e-18, open costs of 1e-54; what is zero is removed."""

    balances: dict[str, Fraction] = field(default_factory=dict)
    locked: dict[str, Fraction] = field(default_factory=dict)
    quantities: dict[Leg, Fraction] = field(default_factory=dict)
    open_costs: dict[Leg, Fraction] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.balances or self.locked or self.quantities)

    def holdings(self) -> Holdings:
        positions = (
            Position(*leg, quantity, self.open_costs.get(leg, Fraction(0))) for leg, quantity in self.quantities.items()
        )
        return Holdings(dict(self.balances), tuple(sorted(positions, key=lambda position: position.leg)))

    def copy(self) -> "Ledger":
        return Ledger(dict(self.balances), dict(self.locked), dict(self.quantities), dict(self.open_costs))


def add(amounts: dict[str, Fraction], asset: str, amount: Fraction) -> None:
    left = amounts.get(asset, Fraction(0)) + amount
    if left:
        amounts[asset] = left
    else:
        amounts.pop(asset, None)


def apply_fill(ledger: Ledger, fill: Fill, spec: Spec) -> None:
    """s·n contracts at x: the cost leaves the balance rounded against the account, then the fee."""
    signed = exact(fill.quantity) * (1 if fill.side == "buy" else -1)
    price = exact(fill.price)
    add(ledger.balances, spec.settlement, from_e18(floor_e18(cash_of(spec, signed, price))))
    if fill.fee is not None:
        add(ledger.balances, fill.fee_asset or spec.settlement, -exact(fill.fee))
    trade(ledger, spec, (fill.instrument, fill.position_side or "net"), signed, price)


def cash_of(spec: Spec, signed: Fraction, price: Fraction) -> Fraction:
    """What a trade adds to the balance: linear and option -s·n·size·x, inverse +s·n·size/x."""
    if spec.price_is_coin_per_quote:
        return signed * spec.size / price
    return -signed * spec.size * price


def trade(ledger: Ledger, spec: Spec, leg: Leg, signed: Fraction, price: Fraction) -> None:
    """Quantity and open cost: adding adds, reducing keeps the entry price, crossing zero opens the rest at the new price."""
    held = ledger.quantities.get(leg, Fraction(0))
    left = held + signed
    cost = next_open_cost(spec, held, ledger.open_costs.get(leg, Fraction(0)), signed, price)
    if left:
        ledger.quantities[leg] = left
        ledger.open_costs[leg] = rounded_cost(cost)
    else:
        ledger.quantities.pop(leg, None)
        ledger.open_costs.pop(leg, None)


def next_open_cost(spec: Spec, held: Fraction, cost: Fraction, signed: Fraction, price: Fraction) -> Fraction:
    """Before it is rounded (what opens is rounded by itself, then added)."""
    left = held + signed
    if held * signed >= 0:
        return cost + rounded_cost(plain(notional(spec, signed, price)))
    if held * left > 0:
        return cost * left / held
    return plain(notional(spec, left, price))


def rounded_cost(cost: Fraction) -> Fraction:
    return round_half_even(cost, COST_PLACES) * COST_UNIT


def cash_beside_futures(ledger: Ledger, asset: str, specs: Mapping[str, Spec]) -> Fraction:
    """The balance as if no future were open: what each cost is put back. Buying an inverse one brought coin, an option cost real cash."""
    total = ledger.balances.get(asset, Fraction(0))
    for leg, quantity in ledger.quantities.items():
        spec = specs[leg[0]]
        if spec.settlement == asset and not spec.is_option:
            sign = (1 if quantity > 0 else -1) * (-1 if spec.price_is_coin_per_quote else 1)
            total += sign * ledger.open_costs[leg]
    return total


def apply_transfer(ledgers: dict[str, Ledger], transfer: Transfer, bucket: str) -> None:
    """Signed into the bucket; a move goes to another bucket, locks change no balance."""
    ledger, amount = ledgers[bucket], exact(transfer.amount)
    if transfer.reason == "lock":
        add(ledger.locked, transfer.asset, amount)
    elif transfer.reason == "unlock":
        add(ledger.locked, transfer.asset, -amount)
    elif transfer.reason == "move":
        assert transfer.to_bucket is not None, "refused when decoded"
        add(ledger.balances, transfer.asset, -amount)
        add(ledgers[transfer.to_bucket].balances, transfer.asset, amount)
    else:
        add(ledger.balances, transfer.asset, amount)


def entry_price(spec: Spec, position: Position) -> Fraction | None:
    """open_cost/(|q|·size); inverse |q|·size/open_cost; none of what cost nothing. For people."""
    size = abs(position.quantity) * spec.size
    if not position.open_cost:
        return None
    return size / position.open_cost if spec.price_is_coin_per_quote else position.open_cost / size
