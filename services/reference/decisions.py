"""Which bucket needs which orders now. Everything is decided on the projected bucket."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from services.contracts.messages import Order, Stage
from services.reference.curves import plain
from services.reference.holdings import Holdings, Leg, Position, Valuation
from services.reference.ledger import Ledger, add
from services.reference.lifecycle import next_attempt, open_orders, projected
from services.reference.orders import Draft, finish
from services.reference.outlook import Outlook
from services.reference.portfolio_closing import choose
from services.reference.roots import bankruptcy_price
from services.reference.rounding import down_to, exact, from_e18, price_step, up_to
from services.reference.sizing import (
    SMALLEST,
    Closing,
    cost_share,
    distress_share,
    limit_price,
    near_price,
    quantity_to_close,
    takeover_price,
)  # fmt: skip
from services.reference.state import Bucket
from services.reference.valuation import asset_price, nets

CLOSEABLE: Final = frozenset({"trading", "cancel_only"})


def may_decide(view: Outlook, bucket: Bucket) -> bool:
    """The account is settled and not halted, its gate open, and no doubt could change the answer."""
    world, book = view.world, view.book
    if not world.gate_is_open(book.account) or not is_settled(view):
        return False
    if world.is_halted("all", "*", view.now_ms) or world.is_halted("account", book.account, view.now_ms):
        return False
    return all(_holds_under(doubt.reading, view, bucket) for doubt in bucket.doubts)


def is_settled(view: Outlook) -> bool:
    """With account sequences: no gap. Without: nothing touched the account for a while."""
    book = view.book
    if book.sequences:
        return not book.has_gap
    return book.touched_ms is None or view.now_ms >= book.touched_ms + view.world.settings.account_settle_ms


def _holds_under(reading: Ledger | None, view: Outlook, bucket: Bucket) -> bool:
    """Whether the bucket is liquidatable under the other reading of its ledger too."""
    if reading is None:
        return False
    other = bucket.ledger.copy()
    for asset, amount in reading.balances.items():
        add(other.balances, asset, amount)
    for leg, quantity in reading.quantities.items():
        left = other.quantities.get(leg, Fraction(0)) + quantity
        other.quantities = {**other.quantities, leg: left}
        if left == 0:
            del other.quantities[leg]
    holdings = other.holdings()
    return view.try_value(holdings) is not None and view.is_liquidatable(holdings)


def urgency(view: Outlook, valuation: Valuation) -> tuple[int, Fraction]:
    """Worst first: equity over Σ notional·price·σ, the distance to bankruptcy in sigmas; debt without positions before all."""
    spread = sum(
        (plain(leg.notional) * plain(leg.price) * view.sigma(name) for (name, _), leg in valuation.legs.items()),
        Fraction(0),
    )
    equity = plain(valuation.equity)
    return (1, equity / spread) if spread else (0 if equity < 0 else 2, Fraction(0))


@dataclass
class Round:
    """The orders that one bucket needs at this moment, found one after the other, each on the projection with those before."""

    view: Outlook
    bucket: Bucket
    holdings: Holdings
    valuation: Valuation

    def run(self) -> list[Order]:
        if not self.view.is_liquidatable(self.holdings):
            return []
        already = open_orders(self.view.book, self.bucket)
        projection = projected(self.holdings, already, self.view.market)
        busy: set[Leg] = {(order.instrument, order.position_side) for order, _ in already}
        found: list[Order] = []
        while self.view.try_value(projection) is not None and self.view.is_liquidatable(projection):
            candidates = self._candidates(projection, busy)
            portfolio = choose(self.view, projection, candidates) if self.view.is_portfolio() else None
            if not candidates or (portfolio is None and self.view.is_portfolio()):
                break
            position = candidates[0] if portfolio is None else portfolio.position
            busy.add(position.leg)
            closing = replace(self._closing(projection, position, found), portfolio=portfolio)
            drafted = self._draft(closing, found)
            if drafted is None:
                continue
            order, projection = drafted
            found.append(order)
        if not found and not already and not self.holdings.positions:
            found.extend(self._convert())
        return found

    def _candidates(self, projection: Holdings, busy: set[Leg]) -> list[Position]:
        """First the position that frees the most margin for what closing it costs; ties by instrument, then side."""
        valuation = self.view.value(projection)

        def order_of(position: Position) -> tuple[int, Fraction, Leg]:
            leg, spec = valuation.legs[position.leg], self.view.market.spec(position.instrument)
            relief = plain(leg.maintenance_margin) * plain(leg.price)
            cost = plain(leg.notional) * plain(leg.price) * cost_share(spec, self.view.world.settings)
            return (1, -relief / cost, position.leg) if cost else (0, Fraction(0), position.leg)

        able = [p for p in projection.positions if p.leg not in busy and self._is_closeable(p.instrument)]
        return sorted(able, key=order_of)

    def _is_closeable(self, instrument: str) -> bool:
        return self.view.market.spec(instrument).status in CLOSEABLE and self.view.has_valid_mark(instrument)

    def _closing(self, projection: Holdings, position: Position, found: list[Order]) -> Closing:
        return Closing(
            holdings=projection,
            market=self.view.market,
            valuation=self.view.value(projection),
            position=position,
            bankruptcy=None if self.view.is_portfolio() else bankruptcy_price(projection, self.view.market, position),
            sigma=self.view.sigma(position.instrument),
            gap_losses=self.view.gap_losses(self.view.value(projection)),
            earlier_orders=self._earlier_orders(position.instrument, found),
            settings=self.view.world.settings,
        )

    def _earlier_orders(self, instrument: str, found: list[Order]) -> int:
        """Of this distress, on this instrument, since the last that was wholly filled; those of this round included."""
        sent = len(self._fruitless(instrument))
        return sent + sum(order.instrument == instrument for order in found)

    def _fruitless(self, instrument: str) -> list[int]:
        """When the orders of this distress on the instrument were issued that came after the last wholly filled one."""
        if self.bucket.distress is None:
            return []
        issued = self.bucket.distress.orders.get(instrument, {})
        orders = {name: self.bucket.orders[name].order for name in issued}
        filled = self.view.book.filled
        whole = [o.attempt for name, o in orders.items() if o and filled.get(name, 0) >= exact(o.quantity)]
        last = max(whole, default=0)
        return [issued_ms for name, issued_ms in issued.items() if (o := orders[name]) and o.attempt > last]

    def _draft(self, closing: Closing, found: list[Order]) -> tuple[Order, Holdings] | None:
        held = abs(closing.position.quantity)
        stage: Stage
        if self._needs_takeover(closing):
            stage = "adl" if closing.spec.insurance_pool is None else "takeover"
            quantity, limit = held, takeover_price(closing)
        else:
            quantity = quantity_to_close(closing)
            if quantity == 0:
                return None
            stage = "full" if quantity == held else "partial"
            limit = limit_price(closing, quantity)
        draft = Draft(
            instrument=closing.position.instrument, position_side=closing.position.side,
            side="sell" if closing.position.quantity > 0 else "buy",
            quantity=quantity, limit=limit, stage=stage, mark=closing.mark,
            attempt=self._attempt(closing.position.instrument, found),
        )  # fmt: skip
        return finish(self.view, self.bucket, self.holdings, self.valuation, before=closing.holdings, draft=draft)

    def _needs_takeover(self, closing: Closing) -> bool:
        """The mark is at or past bankruptcy, or ordinary orders have had their chances."""
        settings, distress = self.view.world.settings, self.bucket.distress
        fee = closing.spec.taker_fee * plain(closing.leg.notional) * plain(closing.leg.price)
        if closing.equity - fee <= 0:
            return True
        if distress is None:
            return False
        since = self._fruitless(closing.position.instrument)
        too_long = bool(since) and self.view.now_ms - min(since) >= settings.max_unfilled_ms
        return too_long or closing.earlier_orders >= settings.max_attempts

    def _attempt(self, instrument: str, found: list[Order]) -> int:
        return next_attempt(self.bucket, instrument) + sum(order.instrument == instrument for order in found)

    def _convert(self) -> list[Order]:
        """Only debt and collateral left: sell the most valuable collateral that can be sold, as much as the debt needs."""
        amounts = nets(self.holdings, self.view.market)
        worth = {
            asset: plain(net) * plain(asset_price(asset, self.view.market, net))
            for asset, net in amounts.items()
            if plain(net) < 0 or self._conversion(asset) is not None
        }
        debt = -sum(value for value in worth.values() if value < 0)
        assets = sorted((-value, asset) for asset, value in worth.items() if value > 0)
        if not debt or not assets:
            return []
        draft = self._conversion_draft(assets[0][1], Fraction(debt))
        if draft is None:
            return []
        drafted = finish(self.view, self.bucket, self.holdings, self.valuation, before=self.holdings, draft=draft)
        return [drafted[0]]

    def _conversion(self, asset: str) -> str | None:
        """The instrument on which the asset can be sold now."""
        record = self.view.market.collateral.get(asset)
        if record is None or record.conversion_instrument is None:
            return None
        known = record.conversion_instrument in self.view.market.instruments
        return record.conversion_instrument if known and self._is_closeable(record.conversion_instrument) else None

    def _conversion_draft(self, asset: str, debt: Fraction) -> Draft | None:
        instrument = self._conversion(asset)
        assert instrument is not None, "chosen because it can be sold"
        spec, settings = self.view.market.spec(instrument), self.view.world.settings
        mark = plain(self.view.market.price(instrument))
        lot = SMALLEST if spec.lot is None else spec.lot
        equity, maintenance = plain(self.valuation.equity), plain(self.valuation.maintenance_margin)
        share = distress_share(equity, maintenance, self._earlier_orders(instrument, []), settings)
        near = near_price(mark, 1, self.view.sigma(instrument), share, settings)
        free = self.holdings.balances[asset] - self.bucket.ledger.locked.get(asset, Fraction(0))
        needed = debt * (1 + from_e18(settings.hysteresis)) / plain(asset_price(asset, self.view.market, free))
        quantity = min(down_to(free / spec.size, lot), up_to(needed / spec.size, lot))
        if quantity <= 0:
            return None
        step = price_step(spec.tick)
        return Draft(
            instrument=instrument, position_side="net", side="sell", quantity=quantity,
            limit=max(step, up_to(near, step)), stage="convert", mark=mark,
            attempt=next_attempt(self.bucket, instrument),
        )  # fmt: skip
