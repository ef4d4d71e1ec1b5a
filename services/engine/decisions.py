"""From the level to orders: a bucket that is liquidatable now, and still is when its open orders fill, is closed just enough."""

from collections.abc import Iterator
from fractions import Fraction

from services.contracts.decimals import ONE, to_text
from services.contracts.identifiers import order_id as id_of_order
from services.contracts.messages import Default, Evidence, Order
from services.engine.closing import Close, limit_price, order_of_closing, quantity_to_close, round_price
from services.engine.context import Context
from services.engine.effects import AlarmName, Emit
from services.engine.market import Overlay
from services.engine.orders import next_attempt, open_order_of
from services.engine.portfolio_closing import portfolio_close
from services.engine.projection import project
from services.engine.state import Account, Bucket, Doubt, OpenOrder, Position
from services.engine.valuation import Leg, Valuation, is_liquidatable
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import E90, Holdings, Incomplete

ORDERS_TOPIC = "liquidation-orders"
DEFAULTS_TOPIC = "defaults"
PRICE_PLACES = 12


class Decider:
    """Decides one bucket at a time; what it decides becomes an open order of the bucket and an effect."""

    def __init__(self, context: Context, valuer: Valuer) -> None:
        self._context = context
        self._valuer = valuer

    def decide(self, account: Account, bucket: Bucket, valuation: Valuation) -> None:
        """Emit every order that the bucket needs now, given its valuation."""
        at_equal = self._context.settings.liquidate_at_equal
        if not is_liquidatable(valuation, at_equal=at_equal):
            return
        if self._is_blocked(account, bucket) or not self._is_certain(account, bucket):
            return
        while self._decide_one(account, bucket, valuation):
            pass

    def _is_blocked(self, account: Account, bucket: Bucket) -> bool:
        context, market = self._context, self._context.market
        if (
            not context.gate_is_open(account.partition)
            or market.halted_all
            or account.account in market.halted_accounts
        ):
            return True
        if account.sequence_ahead or account.parked:
            return True
        if account.touched_ms is None:
            return False
        settled_ms = account.touched_ms + context.settings.account_settle_ms
        if context.now_of(account) >= settled_ms:
            return False
        context.timers.at(settled_ms, "bucket", account.account, bucket.name)
        return True

    def _is_certain(self, account: Account, bucket: Bucket) -> bool:
        """Liquidatable under every reading of what is in doubt: the ledger's, and the prices'."""
        readings = [holdings_of(bucket)]
        doubts = account.doubts_of(bucket)
        if doubts:
            if any(doubt.alternative is None for doubt in doubts):
                return False
            readings += [_other_reading(bucket, [doubt]) for doubt in doubts]
            readings.append(_other_reading(bucket, doubts))
        return all(self._is_under_at_best_prices(account, bucket, holdings) for holdings in readings)

    def _is_under_at_best_prices(self, account: Account, bucket: Bucket, holdings: Holdings) -> bool:
        context, now = self._context, self._context.now_of(account)
        doubtful = {
            price_id
            for price_id in self._valuer.dependencies(account, bucket)
            if context.market.grade(price_id, now) != "valid" and context.market.marks.get(price_id) is not None
        }
        marks = None
        if doubtful:
            best = {price_id: self._best_price(price_id, holdings, now) for price_id in doubtful}
            marks = Overlay(context.market.marks, best)
        elif not account.doubts and not bucket.doubts:
            return True  # the caller's valuation stands
        valuation = self._valuer.value(account, holdings, now, marks)
        return isinstance(valuation, Valuation) and is_liquidatable(
            valuation, at_equal=context.settings.liquidate_at_equal
        )

    def _best_price(self, price_id: str, holdings: Holdings, now_ms: int) -> int:
        """The end of a doubtful price's interval that favours the bucket: long up, short down; collateral up, debt down."""
        low, high = self._context.market.book.interval(price_id, now_ms)
        held = sum(position.quantity for key, position in holdings.positions.items() if key[0] == price_id)
        if not held:
            assets = self._context.market.assets
            held = sum(
                n
                for asset, n in holdings.balances.items()
                if asset in assets and assets[asset].price_instrument == price_id
            )
        return max(1, high if held >= 0 else low)

    def _decide_one(self, account: Account, bucket: Bucket, valuation: Valuation) -> bool:
        """One more order, if the projected bucket needs one and a position can be closed."""
        context, now = self._context, self._context.now_of(account)
        holdings = project(bucket, context.market)
        projected = self._valuer.value(account, holdings, now)
        if isinstance(projected, Incomplete) or not is_liquidatable(
            projected, at_equal=context.settings.liquidate_at_equal
        ):
            return False
        candidates = list(self._closable(account, bucket, projected))
        if not candidates:
            return not projected.legs and self._convert(account, bucket, valuation, projected)
        if account.margin_mode == "portfolio":
            chosen = portfolio_close(account, holdings, candidates, self._valuer, context.settings, now)
            if chosen is None:
                return False
            leg, quantity = chosen
        else:
            leg = candidates[0]
            quantity = quantity_to_close(leg, projected, context.market, context.settings)
        self._close(account, bucket, valuation, projected, holdings, leg, quantity)
        return True

    def _closable(self, account: Account, bucket: Bucket, projected: Valuation) -> Iterator[Leg]:
        context, now = self._context, self._context.now_of(account)
        busy = {(order.instrument, order.position_side) for order in bucket.orders.values()}
        for leg in order_of_closing(projected, context.market, context.settings):
            tradable = (
                leg.spec.status in ("trading", "cancel_only") and context.market.grade(leg.key[0], now) == "valid"
            )
            if leg.key not in busy and tradable:
                yield leg

    def _close(
        self,
        account: Account,
        bucket: Bucket,
        valuation: Valuation,
        projected: Valuation,
        holdings: Holdings,
        leg: Leg,
        quantity: int,
    ) -> None:
        context = self._context
        bankruptcy = self._valuer.bankruptcy_price(account, holdings, leg.key)
        attempt = next_attempt(bucket, leg.key[0])
        held = abs(leg.position.quantity)
        if self._must_be_taken_over(account, bucket, projected, leg, bankruptcy):
            stage = "takeover" if leg.spec.insurance_pool is not None else "adl"
            price = Fraction(leg.mark, ONE) if bankruptcy is None else bankruptcy
            limit = round_price(price, leg.spec, up=leg.position.quantity > 0)
            order = self._order(
                account,
                bucket,
                valuation,
                projected,
                leg,
                Close(key=leg.key, quantity=held, limit=limit, whole=True),
                stage,
                attempt,
            )
            self._note_deficit(account, bucket, projected, leg, order)
            self._issue(account, bucket, order)
            return
        last = quantity == held and len(holdings.positions) == 1
        limit = limit_price(leg, quantity, attempt, projected, bankruptcy, last, context.market, context.settings)
        close = Close(key=leg.key, quantity=quantity, limit=limit, whole=quantity == held)
        stage = "full" if close.whole else "partial"
        self._issue(account, bucket, self._order(account, bucket, valuation, projected, leg, close, stage, attempt))

    def _must_be_taken_over(
        self, account: Account, bucket: Bucket, projected: Valuation, leg: Leg, bankruptcy: Fraction | None
    ) -> bool:
        settings, mark = self._context.settings, Fraction(leg.mark, ONE)
        if projected.equity < 0:
            return True
        if bankruptcy is not None and (mark <= bankruptcy if leg.position.quantity > 0 else mark >= bankruptcy):
            return True
        since = bucket.distress_since_ms
        waited = since is not None and self._context.now_of(account) - since >= settings.max_unfilled_ms
        return bucket.distress_orders >= settings.max_attempts or waited

    def _note_deficit(self, account: Account, bucket: Bucket, projected: Valuation, leg: Leg, order: Order) -> None:
        """What is missing is fixed at the takeover: reported, never hidden, never netted elsewhere."""
        missing = -(projected.equity // (E90 * projected.divisor))
        if missing <= 0:
            return
        assert account.valuation_asset is not None, "valued buckets have a valuation asset"
        default = Default(
            default_id=order.order_id, account=account.account, bucket=bucket.name, client=account.client,
            asset=account.valuation_asset, deficit=to_text(missing), insurance_pool=leg.spec.insurance_pool,
            order_id=order.order_id, ts_ms=order.ts_ms,
        )  # fmt: skip
        self._emit(DEFAULTS_TOPIC, account, default)

    def _convert(self, account: Account, bucket: Bucket, valuation: Valuation, projected: Valuation) -> bool:
        """Only debt and collateral are left: sell the largest collateral that can be converted. Not yet while an order is out."""
        if bucket.orders:
            return False
        market, scale = self._context.market, projected.divisor
        choices = []
        for asset, net in projected.nets.items():
            record = market.assets.get(asset)
            if net <= 0 or record is None or record.conversion_instrument is None:
                continue
            spec, mark = market.specs.get(record.conversion_instrument), market.marks.get(record.conversion_instrument)
            if spec is not None and mark is not None:
                choices.append((-net * mark, asset, spec, mark))
        if not choices or not scale:
            return False
        _, asset, spec, mark = min(choices, key=lambda choice: choice[:2])
        amount = bucket.balances[asset]
        leg = Leg((spec.instrument, "net"), spec, Position(amount, 0), mark, 0, 0, 0, 0, ONE)
        limit = round_price(
            Fraction(mark, ONE) * (1 - Fraction(self._context.settings.distress_range, ONE)), spec, up=True
        )
        close = Close(key=leg.key, quantity=amount, limit=limit, whole=True)
        attempt = next_attempt(bucket, spec.instrument)
        self._issue(account, bucket, self._order(account, bucket, valuation, projected, leg, close, "convert", attempt))
        return True

    def _order(
        self,
        account: Account,
        bucket: Bucket,
        valuation: Valuation,
        projected: Valuation,
        leg: Leg,
        close: Close,
        stage: str,
        attempt: int,
    ) -> Order:
        context, now = self._context, self._context.now_of(account)
        holdings = holdings_of(bucket)
        selling = leg.position.quantity > 0
        lines: list[str | None] = [None, None]
        if leg.key in bucket.positions:
            lines = [
                price_text(self._valuer.liquidation_price(account, holdings, leg.key), leg),
                price_text(self._valuer.bankruptcy_price(account, holdings, leg.key), leg),
            ]
        return Order(
            order_id=id_of_order(account.account, bucket.name, leg.key[0], attempt),
            epoch=context.epochs.get(account.partition, 0), account=account.account, client=account.client, bucket=bucket.name,
            instrument=leg.key[0], position_side=leg.key[1], side="sell" if selling else "buy",  # type: ignore[arg-type]  # keys hold text
            quantity=to_text(close.quantity), order_type="limit", time_in_force="ioc", limit_price=to_text(close.limit),
            reduce_only=True, cancel_resting="instrument" if account.margin_mode == "isolated" else "bucket", block_opening=True,
            valid_until_ms=now + context.settings.order_ttl_ms, stage=stage,  # type: ignore[arg-type]  # one of Stage
            trigger="negative_equity" if valuation.equity < 0 else "maintenance_breach", attempt=attempt,
            position_quantity=to_text(leg.position.quantity), mark_price=to_text(leg.mark),
            liquidation_price=lines[0], bankruptcy_price=lines[1],
            equity=to_text(valuation.equity_e18()), maintenance_margin=to_text(valuation.requirement_e18(valuation.maintenance)),
            projected_equity=to_text(projected.equity_e18()),
            projected_maintenance_margin=to_text(projected.requirement_e18(projected.maintenance)),
            evidence=self._evidence(account, bucket), ts_ms=now,
        )  # fmt: skip

    def _evidence(self, account: Account, bucket: Bucket) -> Evidence:
        market, seen = self._context.market, {topic: list(place) for topic, place in account.seen.items()}
        prices: dict[str, list[int]] = {}
        for price_id in sorted(self._valuer.dependencies(account, bucket)):
            state = market.book.state(price_id)
            if state is not None:
                prices[price_id] = list(state.place)
        places = {topic: list(place) for topic, place in market.places.items()}
        return Evidence(
            fills=seen.get("fills"), transfers=seen.get("transfers"), accounts=seen.get("accounts"),
            order_events=seen.get("order-events"), liquidation_orders=seen.get("liquidation-orders"), prices=prices,
            instruments=places.get("instruments"), collateral=places.get("collateral"), controls=places.get("controls"),
            risk_parameters=places.get("risk-parameters"),
        )  # fmt: skip

    def _issue(self, account: Account, bucket: Bucket, order: Order) -> None:
        bucket.orders[order.order_id] = open_order_of(order)
        self._emit(ORDERS_TOPIC, account, order)

    def _emit(self, topic: str, account: Account, message: Order | Default) -> None:
        self._context.effects.append(
            Emit(
                cause=self._context.cause,
                topic=topic,
                key=account.account,
                partition=account.partition,
                message=message,
            )
        )

    def resend(self, account: Account, bucket: Bucket, order: OpenOrder) -> None:
        """Nobody answered: the same id and content again, with a fresh validity."""
        from msgspec import structs

        context, now = self._context, self._context.now_of(account)
        content = order.content
        if order.terminal or content is None or not context.gate_is_open(account.partition):
            return
        order.resends += 1
        again = structs.replace(
            content,
            epoch=context.epochs.get(account.partition, 0),
            valid_until_ms=now + context.settings.order_ttl_ms,
            ts_ms=now,
        )
        context.alarm(
            AlarmName.ORDER_UNANSWERED, f"order {order.order_id} has no answer, sent again", account=account.account,
            bucket=bucket.name, instrument=order.instrument,
        )  # fmt: skip
        self._emit(ORDERS_TOPIC, account, again)


def price_text(price: Fraction | None, leg: Leg) -> str | None:
    """A line rounded to the tick toward safety: a long's up, a short's down."""
    if price is None:
        return None
    return to_text(round_price(price, leg.spec, up=leg.position.quantity > 0))


def _other_reading(bucket: Bucket, doubts: list[Doubt]) -> Holdings:
    """What the bucket would hold under the doubts' other readings."""
    balances = dict(bucket.balances)
    positions = {key: Position(held.quantity, held.open_cost) for key, held in bucket.positions.items()}
    for doubt in doubts:
        for kind, name, amount in doubt.alternative or ():
            if kind == "balance":
                balances[name] = balances.get(name, 0) + amount
                continue
            instrument, _, side = name.rpartition("|")
            held = positions.setdefault((instrument, side), Position(0, 0))
            held.quantity += amount
    return Holdings(balances, {key: held for key, held in positions.items() if held.quantity})
