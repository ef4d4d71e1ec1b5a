"""Reference data, controls and prices into the world."""

from typing import Final

from services.contracts.messages import Collateral, Control, Instrument, Message, Price, RiskParameters
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.engine.effects import AlarmName
from services.reference import prices
from services.reference.fold import unpark
from services.reference.prices import PriceState, Tick
from services.reference.rounding import from_e18
from services.reference.specs import collateral_of, spec_of
from services.reference.state import World

IMMUTABLE: Final = (
    "kind", "contract", "contract_size", "settlement_asset", "underlying", "expiry_ms", "strike", "option_type",
)  # fmt: skip

Outcome = Refusal | list[tuple[AlarmName, str, str]]
"""A refusal, or alarms: name, instrument, detail."""


def fold_broadcast(world: World, message: Message, record: Record) -> Outcome:
    match message:
        case Instrument():
            return fold_instrument(world, message)
        case Collateral():
            world.collateral[message.asset] = collateral_of(message)
        case RiskParameters():
            world.risk.setdefault(message.instrument, []).append(message)
        case Control():
            fold_control(world, message)
        case Price():
            return fold_price(world, message, record)
        case _:
            raise AssertionError(f"{record.topic} is no broadcast topic")
    return []


def fold_instrument(world: World, message: Instrument) -> Outcome:
    """What positions rest on never changes after the instrument's first record."""
    old = world.instruments.get(message.instrument)
    if old is not None:
        for name in IMMUTABLE:
            was, becomes = _comparable(old, name), _comparable(message, name)
            if was != becomes:
                return Refusal(Reason.IMMUTABLE_CHANGED, f"{name} {was} to {becomes}")
    spec = spec_of(message)
    world.instruments[message.instrument], world.specs[message.instrument] = message, spec
    for _, book in sorted(world.accounts.items()):
        unpark(world, book)
    cost = spec.taker_fee + from_e18(world.settings.expected_slippage)
    if not spec.is_option and spec.maintenance_tiers[0].rate <= cost:
        return [(AlarmName.CANNOT_PAY_OWN_CLOSE, message.instrument, "first tier is not above fee and slippage")]
    return []


def _comparable(message: Instrument, name: str) -> object:
    spec = spec_of(message)
    return {"contract_size": spec.size, "strike": spec.strike}.get(name, getattr(message, name))


def fold_control(world: World, control: Control) -> None:
    key = (control.scope, control.target)
    if control.action == "halt":
        world.controls[key] = control
    elif control.action == "resume":
        world.controls.pop(key, None)
    else:
        clear(world, control)


def clear(world: World, control: Control) -> None:
    """Doubts up to the named offsets are settled, all of them where none is named. A gap that is cleared is no gap."""
    for account, book in world.accounts.items():
        if control.scope == "instrument" or (control.scope == "account" and control.target != account):
            continue
        for bucket in book.buckets.values():
            settled = [
                doubt
                for doubt in bucket.doubts
                if control.through is None or doubt.offset <= control.through.get(doubt.topic, -1)
            ]
            bucket.doubts = [doubt for doubt in bucket.doubts if doubt not in settled]
            if any(doubt.kind == "gap" for doubt in settled):
                book.sequences, book.gap_since_ms = {max(book.sequences)}, None


def fold_price(world: World, message: Price, record: Record) -> Outcome:
    state = world.prices.get(message.instrument)
    if state is None:
        if len(world.prices) >= world.settings.max_prices:
            return Refusal(Reason.TOO_MANY_PRICES, f"more than {world.settings.max_prices} price ids")
        state = world.prices.setdefault(message.instrument, PriceState())
    tick = Tick(message, record.partition, record.offset)
    alarm = prices.observe(state, tick, record.timestamp_ms, world.limits(message.instrument), world.settings)
    return [] if alarm is None else [(alarm, message.instrument, f"mark {message.mark_price}")]


def confirm_prices(world: World) -> list[tuple[AlarmName, str, str]]:
    """Accept the jumps whose time has come, by id."""
    alarms = []
    for name, state in sorted(world.prices.items()):
        alarm = prices.confirm(state, world.broadcast_ms, world.limits(name), world.settings)
        if alarm is not None and state.last is not None:
            alarms.append((alarm, name, f"mark {state.last.price.mark_price}"))
    return alarms
