"""Orders that a cap of the worker held back: decided again from the level, or sent again, when there is room."""

from collections.abc import Iterable
from fractions import Fraction

from services.contracts.decimals import parse
from services.contracts.messages import Order
from services.engine.context import Context
from services.engine.state import Account, Bucket, OpenOrder
from services.engine.worth import divides

Place = tuple[str, str, str]  # account, bucket, order id


def take_back(context: Context, places: Iterable[Place]) -> list[tuple[Account, Bucket, OpenOrder]]:
    """Forget the orders that were never sent, so that their buckets are decided again; answer the issued ones, to be repeated."""
    repeated = []
    for account_name, bucket_name, order_id in places:
        found = context.find((account_name, bucket_name))
        order = None if found is None else found[1].orders.get(order_id)
        if found is None or order is None:
            continue
        if order.confirmed and order.content is not None and not order.terminal:
            repeated.append((*found, order))
        elif not order.is_recorded:
            del found[1].orders[order_id]
            context.touch(*found)
    return repeated


def notional_of(context: Context, order: Order) -> int:
    """What the order closes at the mark it was decided at, e18 of the account's valuation asset, rounded up.

    A settlement asset without a price counts at par: a cap is no ledger.
    """
    spec, account = context.market.specs[order.instrument], context.accounts.awake[order.account]
    quantity, mark = (
        Fraction(parse(order.quantity) * spec.contract_size, 10**36),
        Fraction(parse(order.mark_price), 10**18),
    )
    amount = (quantity / mark if mark else Fraction(0)) if divides(spec) else quantity * mark
    price_id = context.market.price_id_of(spec.settlement_asset, account.valuation_asset or "")
    price = None if price_id is None else context.market.marks.get(price_id)
    return -(-(amount.numerator * (10**18 if price is None else price)) // amount.denominator)
