"""The order message: what is asked for, and the numbers and offsets that justify it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from msgspec.structs import replace

from services.contracts.decimals import to_text
from services.contracts.identifiers import order_id
from services.contracts.messages import Evidence, Order, Side, Stage, Trigger
from services.reference.curves import plain
from services.reference.holdings import Holdings, Position, Valuation
from services.reference.lifecycle import breaches, closed
from services.reference.outlook import Outlook
from services.reference.roots import bankruptcy_price, fee_bases, liquidation_price, reported
from services.reference.rounding import floor_e18, owned, required
from services.reference.specs import Spec
from services.reference.state import Bucket


@dataclass(frozen=True)
class Draft:
    """What is decided of an order; the rest of the message follows."""

    instrument: str
    position_side: str
    side: Side
    quantity: Fraction
    limit: Fraction
    stage: Stage
    mark: Fraction
    attempt: int


def text(value: Fraction) -> str:
    """A quantity or price that lies on a grid of 18 decimals already."""
    return to_text(floor_e18(value))


def finish(
    view: Outlook, bucket: Bucket, holdings: Holdings, valuation: Valuation, *, before: Holdings, draft: Draft
) -> tuple[Order, Holdings]:
    """The order, and the projection with it: its projected numbers are those after it has filled at its limit."""
    order = _message(view, bucket, holdings, valuation, draft)
    after = before if draft.stage == "convert" else closed(before, view.market, order, draft.quantity)
    outcome = view.value(after)
    return _with_projection(order, outcome), after


def _with_projection(order: Order, outcome: Valuation) -> Order:
    return replace(
        order,
        projected_equity=owned(plain(outcome.equity)),
        projected_maintenance_margin=required(plain(outcome.maintenance_margin)),
    )


def _message(view: Outlook, bucket: Bucket, holdings: Holdings, valuation: Valuation, draft: Draft) -> Order:
    book, now_ms, settings = view.book, view.now_ms, view.world.settings
    assert book.record is not None, "only known accounts are decided"
    equity = plain(valuation.equity)
    liquidation, bankruptcy = _prices(view, holdings, draft)
    position = holdings.position((draft.instrument, draft.position_side))
    resting: Literal["instrument", "bucket"] = "instrument" if book.record.margin_mode == "isolated" else "bucket"
    return Order(
        order_id=order_id(book.account, bucket.bucket, draft.instrument, draft.attempt),
        epoch=view.world.epoch(book.account), account=book.account, client=book.client, bucket=bucket.bucket,
        instrument=draft.instrument, position_side=draft.position_side,  # type: ignore[arg-type]  # from a decoded fill
        side=draft.side, quantity=text(draft.quantity), order_type="limit", time_in_force="ioc",
        limit_price=text(draft.limit), reduce_only=True, cancel_resting=resting, block_opening=True,
        valid_until_ms=now_ms + settings.order_ttl_ms, stage=draft.stage,
        trigger=_trigger(view, holdings, valuation), attempt=draft.attempt,
        position_quantity="0" if position is None else text(position.quantity),
        mark_price=text(draft.mark), liquidation_price=liquidation, bankruptcy_price=bankruptcy,
        equity=owned(equity), maintenance_margin=required(plain(valuation.maintenance_margin)),
        projected_equity="0", projected_maintenance_margin="0",
        evidence=evidence(view, holdings, draft.instrument), ts_ms=now_ms,
    )  # fmt: skip


def _trigger(view: Outlook, holdings: Holdings, valuation: Valuation) -> Trigger:
    if plain(valuation.equity) < 0:
        return "negative_equity"
    return "maintenance_breach" if breaches(valuation, holdings, view.world.settings) else "gap_guard"


def _prices(view: Outlook, holdings: Holdings, draft: Draft) -> tuple[str | None, str | None]:
    """Liquidation and bankruptcy price of the position as the bucket stands, rounded toward safety."""
    position = holdings.position((draft.instrument, draft.position_side))
    if position is None or view.is_portfolio():
        return None, None
    spec, market = view.market.spec(position.instrument), view.market
    liquidation = liquidation_price(holdings, market, position, fee_bases(holdings, market))
    bankruptcy = bankruptcy_price(holdings, market, position)
    return _reported_text(liquidation, spec, position), _reported_text(bankruptcy, spec, position)


def _reported_text(price: Fraction | None, spec: Spec, position: Position) -> str | None:
    rounded = reported(price, spec, position)
    return None if rounded is None else text(rounded)


def evidence(view: Outlook, holdings: Holdings, ordered: str) -> Evidence:
    """The account's own last records, the last of each reference topic, and every price that the bucket's value rests on."""
    used = {position.instrument for position in holdings.positions} | {ordered}
    assets = {view.market.spec(position.instrument).settlement for position in holdings.positions} | set(
        holdings.balances
    )
    for asset in assets:
        record = view.market.collateral.get(asset)
        if record is not None and record.price_instrument is not None:
            used.add(record.price_instrument)
    ticks = {name: state.last for name, state in sorted(view.world.prices.items()) if name in used}
    own, broadcast = view.book.evidence, view.world.evidence

    def place(topic: str) -> list[int] | None:
        found = own.get(topic) or broadcast.get(topic)
        return None if found is None else list(found)

    return Evidence(
        fills=place("fills"), transfers=place("transfers"), accounts=place("accounts"),
        order_events=place("order-events"), liquidation_orders=place("liquidation-orders"),
        prices={name: [tick.partition, tick.offset] for name, tick in ticks.items() if tick is not None},
        instruments=place("instruments"), collateral=place("collateral"), controls=place("controls"),
        risk_parameters=place("risk-parameters"),
    )  # fmt: skip
