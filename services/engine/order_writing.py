"""Writing a decided close down as an order: its numbers, its evidence, its id."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from msgspec import structs

from services.contracts.decimals import to_text
from services.contracts.identifiers import order_id as id_of_order
from services.contracts.messages import Evidence, Order, Trigger
from services.engine.closing import Close, reported_price
from services.engine.context import Context
from services.engine.effects import AlarmName, Emit
from services.engine.orders import open_order_of
from services.engine.projection import project
from services.engine.state import Account, Bucket, OpenOrder
from services.engine.valuation import Leg, Valuation, is_liquidatable
from services.engine.valuer import Valuer, holdings_of

ORDERS_TOPIC: Final = "liquidation-orders"


class OrderWriter:
    """Turns closes into messages, effects and open orders."""

    def __init__(self, context: Context, valuer: Valuer) -> None:
        self._context = context
        self._valuer = valuer

    def issue(self, account: Account, bucket: Bucket, valuation: Valuation, close: Close) -> None:
        """Make the close an open order of the bucket and emit it."""
        now = self._context.now_of(account)
        leg, order_id = close.leg, id_of_order(account.account, bucket.name, close.leg.key[0], close.attempt)
        side = "sell" if leg.position.quantity > 0 else "buy"
        open_order = bucket.orders[order_id] = OpenOrder(
            order_id, *leg.key, side, close.quantity, close.limit, close.stage, close.attempt, now, now
        )
        projected = self._valuer.value(account, project(bucket, self._context.market), now)
        assert isinstance(projected, Valuation), "less of a bucket that can be valued can be valued"
        order = self._order(account, bucket, close, open_order, (valuation, projected))
        bucket.orders[order_id] = open_order_of(order)
        self._emit(account, order)

    def resend(self, account: Account, bucket: Bucket, order: OpenOrder) -> None:
        """Nobody answered: the same id and content again, with a fresh validity."""
        context, now = self._context, self._context.now_of(account)
        assert order.content is not None, "only an order that was issued can be sent again"
        order.resends += 1
        context.mark_dirty(account, bucket.name)
        context.alarm(
            AlarmName.ORDER_UNANSWERED, f"order {order.order_id} has no answer, sent again", account=account.account,
            bucket=bucket.name, instrument=order.instrument,
        )  # fmt: skip
        epoch, valid_until_ms = context.epochs.get(account.partition, 0), now + context.settings.order_ttl_ms
        again = structs.replace(order.content, epoch=epoch, valid_until_ms=valid_until_ms, ts_ms=now)
        order.content, order.valid_until_ms = again, valid_until_ms
        self._emit(account, again)

    def _order(
        self, account: Account, bucket: Bucket, close: Close, order: OpenOrder, numbers: tuple[Valuation, Valuation]
    ) -> Order:
        valuation, projected = numbers
        leg, holdings = close.leg, holdings_of(bucket)
        liquidation = bankruptcy = None
        if leg.key in bucket.positions:
            liquidation = price_text(self._valuer.liquidation_price(account, holdings, leg.key, valuation), leg)
            bankruptcy = price_text(self._valuer.bankruptcy_price(account, holdings, leg.key, valuation), leg)
        return Order(
            order_id=order.order_id, epoch=self._context.epochs.get(account.partition, 0), account=account.account,
            client=account.client, bucket=bucket.name, instrument=leg.key[0],
            position_side=leg.key[1], side=order.side, stage=close.stage,  # type: ignore[arg-type]  # the state keeps them as plain text
            quantity=to_text(close.quantity), order_type="limit", time_in_force="ioc", limit_price=to_text(close.limit),
            reduce_only=True, cancel_resting="instrument" if account.margin_mode == "isolated" else "bucket", block_opening=True,
            valid_until_ms=order.issued_ms + self._context.settings.order_ttl_ms,
            trigger=self._trigger(valuation), attempt=close.attempt,
            position_quantity=to_text(held.quantity if (held := bucket.positions.get(leg.key)) else 0), mark_price=to_text(leg.mark),
            liquidation_price=liquidation, bankruptcy_price=bankruptcy,
            equity=to_text(valuation.equity_e18()), maintenance_margin=to_text(valuation.requirement_e18(valuation.maintenance)),
            projected_equity=to_text(projected.equity_e18()),
            projected_maintenance_margin=to_text(projected.requirement_e18(projected.maintenance)),
            evidence=self._evidence(account, bucket), ts_ms=order.issued_ms,
        )  # fmt: skip

    def _trigger(self, valuation: Valuation) -> Trigger:
        if valuation.equity < 0:
            return "negative_equity"
        under = is_liquidatable(valuation, at_equal=self._context.settings.liquidate_at_equal)
        return "maintenance_breach" if under else "gap_guard"

    def _evidence(self, account: Account, bucket: Bucket) -> Evidence:
        market = self._context.market
        prices = {
            price_id: list(state.place)
            for price_id in sorted(self._valuer.dependencies(account, bucket))
            if (state := market.book.state(price_id)) is not None
        }
        return Evidence(
            fills=_place(account.seen.get("fills")), transfers=_place(account.seen.get("transfers")),
            accounts=_place(account.seen.get("accounts")), order_events=_place(account.seen.get("order-events")),
            liquidation_orders=self._orders_place(account), prices=prices,
            instruments=_place(market.places.get("instruments")), collateral=_place(market.places.get("collateral")),
            controls=_place(market.places.get("controls")), risk_parameters=_place(market.places.get("risk-parameters")),
        )  # fmt: skip

    def _orders_place(self, account: Account) -> list[int] | None:
        """The account's last order, or the claim under which this one is sent if that came later."""
        seen, epoch = account.seen.get("liquidation-orders"), self._context.epochs.get(account.partition)
        if epoch is None or (seen is not None and seen[1] > epoch):
            return _place(seen)
        return [account.partition, epoch]

    def _emit(self, account: Account, order: Order) -> None:
        self._context.effects.append(
            Emit(
                cause=self._context.cause,
                topic=ORDERS_TOPIC,
                key=account.account,
                partition=account.partition,
                message=order,
            )
        )


def price_text(price: Fraction | None, leg: Leg) -> str | None:
    """A line rounded to the tick toward safety: a long's up, a short's down."""
    rounded = reported_price(price, leg.spec, up=leg.position.quantity > 0)
    return None if rounded is None else to_text(rounded)


def _place(place: Sequence[int] | None) -> list[int] | None:
    return None if place is None else list(place)
