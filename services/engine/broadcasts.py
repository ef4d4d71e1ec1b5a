"""Folding what every worker reads: instruments, collateral, prices, controls and risk parameters."""

from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import TypeVar

from services.contracts.decimals import parse
from services.contracts.messages import Collateral, Control, Instrument, Price, RiskParameters
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.engine.context import Context
from services.engine.effects import AlarmName
from services.engine.facts import unpark
from services.engine.instruments import asset_of, immutable_changes, spec_of
from services.engine.market import Multiplier
from services.engine.pieces import READ, TOUCH, Later, Pace, Steps, one_by_one
from services.engine.resting import Resting
from services.engine.search import Search
from services.engine.sequences import GAP, forget_gap
from services.engine.state import Account, Bucket, BucketKey

ALL, EVERYTHING = "all", "*"
T = TypeVar("T")


class Broadcasts:
    """Changes the market, and touches every bucket that a change may concern: later, where these may be many."""

    def __init__(self, context: Context, search: Search) -> None:
        self._context = context
        self._search = search
        self._coming: dict[str, list[tuple[RiskParameters, tuple[int, int]]]] = {}
        self._halts: dict[tuple[str, str], int | None] = {}  # scope, target -> expires_ms

    def fold_instrument(self, message: Instrument, record: Record) -> Refusal | None:
        context, market, place = self._context, self._context.market, (record.partition, record.offset)
        known = market.messages.get(message.instrument)
        if known is not None and (changes := immutable_changes(known, message)):
            return Refusal(Reason.IMMUTABLE_CHANGED, f"{message.instrument}: {', '.join(changes)}")
        spec = market.specs[message.instrument] = spec_of(message, place)
        market.messages[message.instrument] = message
        market.refresh_limits(message.instrument)
        cost = spec.taker_fee_rate + context.settings.expected_slippage
        if spec.option is None and spec.tiers[0].maintenance_rate <= cost:
            context.alarm(
                AlarmName.CANNOT_PAY_OWN_CLOSE, "the first tier is not above taker fee and expected slippage",
                instrument=message.instrument,
            )  # fmt: skip
        if known is None:
            self._later(list(context.accounts.awake.values()), self._unpark)
        self._touch(self._search.disturbed(message.instrument))
        self._touch_awake(lambda _, bucket: bucket.status == "incomplete")
        return None

    def fold_collateral(self, message: Collateral, record: Record) -> Refusal | None:
        market = self._context.market
        market.assets[message.asset] = asset_of(message, (record.partition, record.offset))
        if message.price_instrument is not None:
            market.refresh_limits(message.price_instrument)
        settled = {name for name, spec in market.specs.items() if spec.settlement_asset == message.asset}
        self._touch_awake(
            lambda _, bucket: message.asset in bucket.balances or any(key[0] in settled for key in bucket.positions)
        )
        self._context.later.append(self._resting_holders(message.asset, settled))
        return None

    def _resting_holders(self, asset: str, instruments: Container[str]) -> Later:
        """Have those at rest redrawn that hold the asset, or a position in one of the instruments."""
        accounts, held = self._context.accounts, list[int]()

        def look(pace: Pace) -> Steps:
            def note(found: tuple[int, Resting]) -> None:
                if _holds(found[1], asset, instruments):
                    held.append(found[0])

            yield from one_by_one(accounts.rows(accounts.packed), note, READ, pace)
            self._search.redraw(held)

        return look

    def fold_price(self, tick: Price, record: Record) -> Refusal | None:
        context, book = self._context, self._context.market.book
        verdict = book.update(tick, (record.partition, record.offset), record.timestamp_ms)
        if verdict == "accepted":
            self._touch(self._search.moved(tick.instrument))
        elif verdict == "future":
            ahead_ms = tick.ts_ms - record.timestamp_ms
            context.alarm(AlarmName.PRICE_FROM_FUTURE, f"{ahead_ms} ms ahead", instrument=tick.instrument)
        elif verdict == "full":
            known = f"{context.settings.max_prices} price ids are known, {tick.instrument} is not"
            return Refusal(Reason.TOO_MANY_PRICES, known)
        elif verdict == "jump":
            self._watch(tick)
        elif verdict == "pending":
            self.price_due(tick.instrument)
        return None

    def _watch(self, tick: Price) -> None:
        settings = self._context.settings
        self._context.timers.at(tick.ts_ms + settings.confirm_ms, "price", tick.instrument)
        self._context.timers.at(tick.ts_ms + settings.confirm_max_ms, "price", tick.instrument)
        self._context.alarm(AlarmName.PRICE_UNCONFIRMED, f"jump to {tick.mark_price}", instrument=tick.instrument)
        self.price_due(tick.instrument)

    def price_due(self, price_id: str) -> None:
        """Time alone may confirm a pending jump."""
        book = self._context.market.book
        verdict = book.due(price_id, self._context.time_ms)
        if verdict is None:
            return
        book.accept_pending(price_id)
        if verdict == "forced":
            self._context.alarm(
                AlarmName.PRICE_ACCEPTED_UNCONFIRMED, "nobody confirmed the jump in time", instrument=price_id
            )
        self._touch(self._search.moved(price_id))

    def fold_risk(self, message: RiskParameters, record: Record) -> Refusal | None:
        self._coming.setdefault(message.instrument, []).append((message, (record.partition, record.offset)))
        if message.effective_ms <= self._context.time_ms:
            self.multiplier_due(message.instrument)
        else:
            self._context.timers.at(message.effective_ms, "multiplier", message.instrument)
        return None

    def multiplier_due(self, instrument: str) -> None:
        """The record with the largest `effective_ms` that is not in the future holds; of equal ones the last."""
        coming, now = self._coming.get(instrument, []), self._context.time_ms
        due = sorted((each for each in coming if each[0].effective_ms <= now), key=lambda each: each[0].effective_ms)
        present = self._context.market.multipliers.get(instrument)
        self._coming[instrument] = [each for each in coming if each[0].effective_ms > now]
        if not due or (present is not None and due[-1][0].effective_ms < present.effective_ms):
            return
        message, place = due[-1]
        variance = None if message.variance is None else parse(message.variance)
        if parse(message.multiplier) > self._context.market.multiplier(instrument):
            self._context.stepped.add(instrument)
        self._context.market.multipliers[instrument] = Multiplier(
            parse(message.multiplier), variance, message.effective_ms, place
        )
        self._touch(self._search.disturbed(instrument))

    def fold_control(self, control: Control, _record: Record) -> Refusal | None:
        if control.action == "clear":
            self._clear(control)
        elif control.action == "halt":
            self._halts[control.scope, control.target] = control.expires_ms
            if control.expires_ms is not None:
                self._context.timers.at(control.expires_ms, "control", control.scope, control.target)
            self._apply_halts(control.scope, control.target)
        else:
            self._halts.pop((control.scope, control.target), None)
            self._apply_halts(control.scope, control.target)
        return None

    def halt_due(self, scope: str, target: str) -> None:
        """A halt expires unless it was renewed."""
        expires_ms = self._halts.get((scope, target))
        if expires_ms is not None and expires_ms <= self._context.time_ms:
            del self._halts[scope, target]
            self._apply_halts(scope, target)

    def _apply_halts(self, scope: str, target: str) -> None:
        market = self._context.market
        market.halted_all = (ALL, EVERYTHING) in self._halts
        market.halted = {name for halted, name in self._halts if halted == "instrument"}
        market.halted_accounts = {name for halted, name in self._halts if halted == "account"}
        if scope == "instrument":  # at rest nothing is to be decided, halted or not
            self._touch(self._search.awake(target))
            return
        self._touch_awake(lambda account, _: scope == ALL or account.account == target)

    def _clear(self, control: Control) -> None:
        """Doubts up to the named offsets are settled (all of them where none is named)."""
        context = self._context
        targets: list[str] = {ALL: list(context.accounts.awake), "account": [control.target]}.get(control.scope, [])
        through = control.through

        def settled(topic: str, offset: int) -> bool:
            return through is None or offset <= through.get(topic, -1)

        def clear(name: str) -> None:
            account = context.accounts.awake.get(name)  # at rest nothing is in doubt
            if account is None or not any(bucket.doubts for bucket in account.buckets.values()):
                return
            context.mark_dirty(account, "")
            for bucket in account.buckets.values():
                before = bucket.doubts
                bucket.doubts = {key: doubt for key, doubt in before.items() if not settled(doubt.topic, doubt.offset)}
                if GAP in before and GAP not in bucket.doubts:
                    forget_gap(account)
                context.touch(account, bucket)

        self._later(targets, clear)

    def _unpark(self, account: Account) -> None:
        if account.parked:
            unpark(self._context, account)

    def _touch(self, keys: Iterable[BucketKey]) -> None:
        if keys:
            self._later(keys, self._context.review)

    def _touch_awake(self, concerns: Callable[[Account, Bucket], bool]) -> None:
        def touch(place: tuple[Account, Bucket]) -> None:
            if concerns(*place):
                self._context.review((place[0].account, place[1].name))

        self._later(self._context.awake_buckets(), touch)

    def _later(self, items: Iterable[T], act: Callable[[T], None]) -> None:
        self._context.later.append(partial(one_by_one, items, act, TOUCH))


def _holds(account: Resting, asset: str, instruments: Container[str]) -> bool:
    """Whether a bucket holds the asset, or a position in one of the instruments."""
    return any(
        asset in row.balances or any(key.rpartition("|")[0] in instruments for key in row.positions)
        for row in account.buckets.values()
    )
