"""The cash ledger: how a fill or a transfer changes a bucket (margin.md "Ledger (cash model)"). Rounded against the account."""

from collections.abc import Mapping
from typing import NamedTuple

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Fill, Transfer
from services.engine.instruments import Spec
from services.engine.state import Bucket, Position, PositionKey
from services.engine.worth import E36, divides


class Traded(NamedTuple):
    """An execution as numbers: what it adds to the position and, without the fee, to the settlement balance; e18."""

    key: PositionKey
    quantity: int
    price: int
    cash: int
    fee: int
    fee_asset: str


def traded(fill: Fill, spec: Spec) -> Traded:
    quantity, price = parse(fill.quantity) if fill.side == "buy" else -parse(fill.quantity), parse(fill.price)
    fee = 0 if fill.fee is None else parse(fill.fee)
    key = (fill.instrument, fill.position_side or "net")
    return Traded(key, quantity, price, cash_of(spec, quantity, price), fee, fill.fee_asset or spec.settlement_asset)


def enter(bucket: Bucket, execution: Traded, spec: Spec) -> list[tuple[str, int]]:
    """Add an execution: quantity, cash and fee. Answers what was added to which balance."""
    bucket.credit(spec.settlement_asset, execution.cash)
    _hold(bucket, execution.key, spec, execution.quantity, execution.price)
    changes = [(spec.settlement_asset, execution.cash)]
    if execution.fee:
        changes.append((execution.fee_asset, -execution.fee))
        bucket.credit(*changes[-1])
    return changes


def trade(bucket: Bucket, key: PositionKey, spec: Spec, quantity: int, price: int) -> None:
    """Buy (positive) or sell `quantity` contracts at `price`: the position and the cash, without fee."""
    bucket.credit(spec.settlement_asset, cash_of(spec, quantity, price))
    _hold(bucket, key, spec, quantity, price)


def _hold(bucket: Bucket, key: PositionKey, spec: Spec, quantity: int, price: int) -> None:
    position = bucket.positions.get(key)
    if position is None:
        bucket.positions[key] = Position(quantity, open_cost(spec, quantity, price))
        return
    total = position.quantity + quantity
    if position.quantity * quantity >= 0:
        position.open_cost += open_cost(spec, quantity, price)
    elif total * position.quantity > 0:
        position.open_cost = _half_even(position.open_cost * abs(total), abs(position.quantity))
    else:
        position.open_cost = open_cost(spec, total, price)
    position.quantity = total
    if not total:
        del bucket.positions[key]


def cash_of(spec: Spec, quantity: int, price: int) -> int:
    """What the bucket's settlement balance changes by: -s·n·size·x, inverse s·n·size/x, e18, rounded down (margin.md "Ledger")."""
    if divides(spec):
        return quantity * spec.contract_size // price
    return -quantity * spec.contract_size * price // E36


def open_cost(spec: Spec, quantity: int, price: int) -> int:
    """What `quantity` contracts cost at `price`: |n|·size·x, inverse |n|·size/x, at 1e-54 of the settlement asset (README "Ledger")."""
    size = abs(quantity) * spec.contract_size
    return _half_even(size * E36, price) if divides(spec) else size * price


def entry_price(spec: Spec, position: Position) -> tuple[int, int] | None:
    """Average entry price as numerator and denominator; None where it cost nothing.

    README "Ledger": open_cost/(|q|·size), inverse |q|·size/open_cost, as Bybit's average entry price.
    """
    size = abs(position.quantity) * spec.contract_size
    if not position.open_cost or not size:
        return None
    return (size * ONE, position.open_cost) if divides(spec) else (position.open_cost, size * ONE)


def wallet_balance(bucket: Bucket, asset: str, specs: Mapping[str, Spec]) -> int:
    """The balance without what open futures moved through it: what a venue shows as wallet balance, e18, rounded up.

    A linear long paid its open cost and an inverse long received it; an option's premium was really paid.
    """
    moved = 0
    for (instrument, _), position in bucket.positions.items():
        spec = specs[instrument]
        if spec.option is None and spec.settlement_asset == asset:
            paid = (position.quantity > 0) != divides(spec)
            moved += position.open_cost if paid else -position.open_cost
    return bucket.balances.get(asset, 0) - (-moved // E36)


def apply_transfer(bucket: Bucket, target: Bucket | None, transfer: Transfer) -> int:
    """Add a change of balances; `target` is the bucket that a move goes to. Answers what the account has more than before."""
    amount = parse(transfer.amount)
    if transfer.reason == "lock":
        bucket.lock(transfer.asset, amount)
    elif transfer.reason == "unlock":
        bucket.lock(transfer.asset, -amount)
    elif transfer.reason == "move":
        assert target is not None, "checks.check_transfer refuses a move without to_bucket"
        bucket.credit(transfer.asset, -amount)
        target.credit(transfer.asset, amount)
    else:
        bucket.credit(transfer.asset, amount)
        return amount
    return 0


def _half_even(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))
