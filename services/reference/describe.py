"""The reference's state for readers: views, state messages and the hash. Numbers are rounded here, once."""

import json
from fractions import Fraction
from hashlib import blake2b

from services.contracts.decimals import to_text
from services.contracts.messages import AccountState
from services.contracts.views import BucketView, PositionView
from services.reference.curves import plain
from services.reference.holdings import Holdings, Position, Valuation
from services.reference.ledger import entry_price
from services.reference.lifecycle import breaches, is_open
from services.reference.outlook import Outlook, value_of
from services.reference.roots import bankruptcy_price, fee_bases, liquidation_price, reported
from services.reference.rounding import COST_PLACES, exact, floor_e18, owned, price_text, required, round_half_even
from services.reference.specs import Spec
from services.reference.state import AccountBook, Bucket, OrderState, World
from services.reference.valuation import notional, position_value


def text(value: Fraction) -> str:
    return to_text(floor_e18(value))


def e18(value: Fraction) -> str:
    return str(floor_e18(value))


def state_message(view: Outlook, bucket: Bucket, previous: str, valuation: Valuation | None) -> AccountState:
    """The numbers at the change. Distances are left to the other implementation: they decide nothing."""
    numbers = bucket_numbers(valuation)
    return AccountState(
        account=bucket.account, bucket=bucket.bucket, client=view.book.client,
        status=bucket.status,  # type: ignore[arg-type]  # the ladder yields the contract's words
        previous_status=previous,  # type: ignore[arg-type]  # likewise
        valuation_asset=view.market.valuation_asset, ts_ms=view.now_ms, **numbers,
    )  # fmt: skip


def bucket_numbers(valuation: Valuation | None) -> dict[str, str | None]:
    """Equity and what is left of it towards minus infinity, requirements up."""
    names = ("equity", "initial_margin", "maintenance_margin", "free_margin", "maintenance_excess")
    if valuation is None:
        return dict.fromkeys(names)
    equity, initial = plain(valuation.equity), plain(valuation.initial_margin)
    maintenance = plain(valuation.maintenance_margin)
    texts = (
        owned(equity),
        required(initial),
        required(maintenance),
        owned(equity - initial),
        owned(equity - maintenance),
    )
    return dict(zip(names, texts, strict=True))


def view_of(view: Outlook | None, book: AccountBook, bucket: Bucket) -> BucketView:
    """One row of `margin --json`. Without an account record nothing but the ledger is known."""
    holdings = bucket.ledger.holdings()
    valuation = None if view is None else value_of(view, bucket)
    greeks = (
        None if valuation is None or valuation.greeks is None else {k: dict(v) for k, v in valuation.greeks.items()}
    )
    settings = None if view is None else view.world.settings
    return BucketView(
        account=book.account, bucket=bucket.bucket, client=book.client,
        margin_mode="" if book.record is None else book.record.margin_mode,
        valuation_asset="" if book.record is None else book.record.valuation_asset,
        status="incomplete" if view is None else bucket.status,
        **bucket_numbers(valuation),
        liquidatable=valuation is not None and settings is not None and breaches(valuation, holdings, settings),
        balances={asset: text(amount) for asset, amount in sorted(bucket.ledger.balances.items())},
        locked={asset: text(amount) for asset, amount in sorted(bucket.ledger.locked.items())},
        positions=[position_view(view, holdings, position, valuation) for position in holdings.positions],
        greeks=greeks,
        worst_scenario=None if valuation is None else valuation.worst_scenario,
    )  # fmt: skip


def position_view(
    view: Outlook | None, holdings: Holdings, position: Position, valuation: Valuation | None
) -> PositionView:
    """Amounts in the settlement asset. Without a mark nothing but quantity and entry price is known."""
    spec = None if view is None else view.market.instruments.get(position.instrument)
    entry = None if spec is None else entry_price(spec, position)
    leg = None if valuation is None else valuation.legs.get(position.leg)
    mark = None if view is None else view.market.marks.get(position.instrument)
    is_portfolio = view is not None and view.is_portfolio()  # the requirement is the whole bucket's
    known = {} if spec is None or mark is None else market_numbers(spec, position, plain(mark))
    liquidation, bankruptcy = (None, None) if view is None or leg is None else position_prices(view, holdings, position)
    return PositionView(
        instrument=position.instrument, position_side=position.side, quantity=text(position.quantity),
        entry_price=None if entry is None else price_text(entry),
        mark_price=known.get("mark_price"), notional=known.get("notional"),
        unrealised_pnl=known.get("unrealised_pnl"),
        initial_margin=None if leg is None or is_portfolio else required(plain(leg.initial_margin)),
        maintenance_margin=None if leg is None or is_portfolio else required(plain(leg.maintenance_margin)),
        liquidation_price=liquidation, bankruptcy_price=bankruptcy,
    )  # fmt: skip


def market_numbers(spec: Spec, position: Position, mark: Fraction) -> dict[str, str]:
    """PnL is the value now less what opening it cost (an inverse position's value and cost have the other sign)."""
    cost = position.sign * position.open_cost * (-1 if spec.price_is_coin_per_quote else 1)
    return {
        "mark_price": price_text(mark),
        "notional": required(plain(notional(spec, position.quantity, mark))),
        "unrealised_pnl": owned(plain(position_value(spec, position.quantity, mark)) - cost),
    }


def position_prices(view: Outlook, holdings: Holdings, position: Position) -> tuple[str | None, str | None]:
    """Liquidation and bankruptcy price, rounded toward safety; none in portfolio mode."""
    if view.is_portfolio():
        return None, None
    market = view.market
    spec = market.spec(position.instrument)
    found = (
        liquidation_price(holdings, market, position, fee_bases(holdings, market)),
        bankruptcy_price(holdings, market, position),
    )
    liquidation, bankruptcy = (reported(price, spec, position) for price in found)
    return (None if liquidation is None else text(liquidation)), (None if bankruptcy is None else text(bankruptcy))


def hash_of(world: World) -> str:
    """BLAKE2b-256 over one line of JSON a bucket, sorted by account and bucket."""
    digest = blake2b(digest_size=32)
    for book, bucket in world.every_bucket():
        line = json.dumps(row_of(book, bucket), sort_keys=True, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def row_of(book: AccountBook, bucket: Bucket) -> dict[str, object]:
    """What the hash covers: no prices, no offsets, nothing that is not confirmed."""
    ledger = bucket.ledger
    return {
        "account": bucket.account,
        "bucket": bucket.bucket,
        "balances": {asset: e18(amount) for asset, amount in ledger.balances.items()},
        "locked": {asset: e18(amount) for asset, amount in ledger.locked.items()},
        "positions": {
            f"{instrument}|{side}": {
                "quantity": e18(quantity),
                "open_cost": str(round_half_even(ledger.open_costs[instrument, side], COST_PLACES)),
            }
            for (instrument, side), quantity in ledger.quantities.items()
        },
        "status": bucket.status,
        "attempts": {instrument: attempt for instrument, attempt in bucket.attempts.items() if attempt},
        "open_orders": {
            order_id: order_row(state, book.filled.get(order_id, Fraction(0)))
            for order_id, state in bucket.orders.items()
            if state.confirmed and is_open(state, book.filled.get(order_id, Fraction(0)))
        },
    }


def order_row(state: OrderState, filled: Fraction) -> dict[str, object]:
    assert state.order is not None, "only orders are open"
    return {
        "instrument": state.order.instrument,
        "position_side": state.order.position_side,
        "side": state.order.side,
        "quantity": e18(exact(state.order.quantity)),
        "limit_price": e18(exact(state.order.limit_price)),
        "filled": e18(filled),
        "reported": e18(state.reported),
        "terminal": state.is_terminal,
        "attempt": state.order.attempt,
        "stage": state.order.stage,
    }
