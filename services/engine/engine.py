"""The engine: records and timers in, effects out (engine.md). One instance holds the accounts of any number of partitions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from services.contracts.codec import decode
from services.contracts.decimals import to_text
from services.contracts.identifiers import partition_of
from services.contracts.messages import AccountState, Claim, LiquidationRecord, Order, OrderEvent, RiskParameters
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.contracts.topics import BROADCAST_TOPICS
from services.contracts.views import BucketView
from services.engine import facts, orders
from services.engine.audit import Audit
from services.engine.basis import Bases
from services.engine.broadcasts import Broadcasts
from services.engine.census import Census
from services.engine.certificates import Certificates
from services.engine.context import TIMER_CAUSE, Context
from services.engine.decisions import Decider
from services.engine.distance import distance_to_liquidation
from services.engine.effects import AlarmName, Cause, DeadLetter, Effect, Emit
from services.engine.finishing import Finishing
from services.engine.lifecycle import DISTRESSED
from services.engine.names import names_in
from services.engine.notice import ComingRise, Notices
from services.engine.pieces import CALM_FILL, PIECE, RECORD, TICK, TOUCH, Pace, Piece, Pieces, Steps, one_by_one, whole
from services.engine.portfolio.preset import Preset
from services.engine.quiet import Quiet, Ticks
from services.engine.ratio import Ratio
from services.engine.restoring import Restoring
from services.engine.rows import bucket_field, state_hash
from services.engine.search import FullScan, Search
from services.engine.sequences import alarm_gap
from services.engine.settings import Settings
from services.engine.shards import Shards
from services.engine.state import Account, Bucket, BucketKey
from services.engine.statements import compare_statements
from services.engine.stats import MarkInUse, Stats
from services.engine.trades import Trades
from services.engine.valuation import Valuation
from services.engine.valuer import Valuer
from services.engine.views import view_of
from services.engine.watch import EquityWatch
from services.engine.withheld import Place, notional_of, take_back
from services.engine.worth import E36, Incomplete

MOST_AWAKE: Final = 20_000
STATES_TOPIC: Final = "account-states"
STATUS_ALARMS: Final = {"dirty": AlarmName.BUCKET_DIRTY, "incomplete": AlarmName.BUCKET_INCOMPLETE}
Urgency = tuple[int, int, Ratio, str, str]
DOUBTFUL_TOPICS: Final = frozenset({"fills", "transfers", "order-events"})


class Engine:
    """See README.md beside this file for what it decides, and how."""

    def __init__(
        self, settings: Settings, presets: Mapping[str, Preset] | None = None, *,
        search: Literal["certificates", "full_scan"] = "certificates", gates_open: bool = True, observe: bool = False,
        most_awake: int = MOST_AWAKE, piece: int = PIECE,
    ) -> None:  # fmt: skip
        """`most_awake`: accounts above that rest as rows where nothing is under way. `piece`: what a piece of an event may cost, in
        microseconds, about. No effect depends on either."""
        self._piece = piece
        self._context = Context(settings, gates_open=gates_open, most_awake=most_awake)
        self._valuer = Valuer(self._context.market, presets or {})
        self._watch = EquityWatch() if observe else None
        self._search: Search = (
            FullScan(self._context) if search == "full_scan" else Certificates(self._context, self._watch)
        )
        self._broadcasts = Broadcasts(self._context, self._search)
        self._quiet = Quiet(self._context, self._search)
        self._trades = Trades(self._context, self._search)
        self._decider = Decider(self._context, self._valuer)
        self._notices = Notices(self._context, self._valuer, self._decider.judge, self._search)
        self._under: dict[BucketKey, None] = {}
        self.basis = Bases(self._context, self._valuer).of
        self.overlooked = Audit(self._context, self._valuer, self._under, self._decider.judge.breaches).overlooked
        self.census = Census()
        self._restoring = Restoring(self._context, self._search, self.census)
        self._shards = Shards(self._context, self._search, self.census, self._under)
        self.take_dirty, self.dirty_count = self._shards.take_dirty, self._shards.dirty_count
        self.forget_dirty, self.differing = self._shards.forget_dirty, self._shards.differing
        self._finishing = Finishing(
            self._context, self._search, self._decider, self._under, review=self._review, settle=self._settle,
            urgency=self._urgency,
        )  # fmt: skip
        self._folds: dict[str, Callable[[Any, Record], Refusal | None]] = {
            "instruments": self._broadcasts.fold_instrument,
            "collateral": self._broadcasts.fold_collateral,
            "prices": self._broadcasts.fold_price,
            "controls": self._broadcasts.fold_control,
            "risk-parameters": self._fold_risk,
            "accounts": lambda message, record: facts.fold_account(self._context, message, record),
            "fills": lambda message, record: facts.fold_fill(self._context, message, record),
            "transfers": lambda message, record: facts.fold_transfer(self._context, message, record),
            "account-statements": lambda message, record: facts.fold_statement(self._context, message, record),
            "order-events": self._fold_order_event,
            "liquidation-orders": self._fold_liquidation_record,
        }

    # -- events in, effects out ------------------------------------------------------------------------------------

    def apply(self, record: Record) -> list[Effect]:
        """Fold one record, review what it can have changed, and answer what must happen."""
        self._context.cause = Cause(record.topic, record.partition, record.offset)
        self._fold(record)
        if self._finishing.is_due():
            for _ in self._finishing.steps(Pace()):
                pass  # all in one
        return self._context.taken()

    def apply_batch(self, records: Sequence[Record]) -> list[Effect]:
        """The concatenation of `apply` over the records."""
        ticks, at, effects = Ticks(records), 0, list[Effect]()
        while (at := self._fold_calm(ticks, at)) < len(records):
            effects += self.apply(records[at])
            at += 1
        return effects

    def _fold_calm(self, ticks: Ticks, at: int) -> int:
        """Apply those of the records from `at` on that nothing follows from, some at a time, and answer where they end."""
        while (end := self._trades.fold(ticks.records, at)) > at:
            at = end
        return self.fold_quiet(ticks, at)

    def fold_quiet(self, ticks: Ticks, at: int, before_ms: float = float("inf")) -> int:
        """Apply those records from `at` on that are ticks without effect, and answer where they end: the next is for `apply`.

        Nothing is read beyond a broker time of `before_ms`, when a timer is due.
        """
        return self._quiet.fold(ticks, at, before_ms)

    def fold_prices(self, records: Sequence[Record]) -> list[Effect]:
        """After a lag: fold all of them to the latest marks and decide once, so that no old mark is taken for a fresh one."""
        return whole(self.folding_prices(records, Pace()))

    def timer(self, time_ms: int) -> list[Effect]:
        """Event time moves on to `time_ms`: whatever became due by itself happens."""
        return whole(self.at_time(time_ms, Pace()))

    # -- the same in pieces: between two of them everything may be looked at, and nothing else be done ---------------

    def applying(self, records: Sequence[Record]) -> Pieces:
        """`apply_batch` of as many of the records as one piece holds, one at least; only the last may need more pieces."""
        pace, ticks, at, effects = Pace(self._piece), Ticks(records), 0, list[Effect]()
        while not pace.over:
            before, at = at, self._trades.fold(records, at)
            if at > before:
                pace.spent((at - before) * CALM_FILL)
                continue
            at = self.fold_quiet(ticks, at)
            if at == len(records) or pace.spent((at - before) * TICK):
                break
            record = records[at]
            self._context.cause = Cause(record.topic, record.partition, record.offset)
            self._fold(record)
            at += 1
            pace.spent(RECORD)
            if self._finishing.is_due():
                for _ in self._finishing.steps(pace):
                    yield Piece([*effects, *self._context.taken()], at)
                    effects = []
            effects += self._context.taken()
        return Piece(effects, at)

    def folding_prices(self, records: Sequence[Record], pace: Pace | None = None) -> Pieces:
        """`fold_prices`."""
        if not records:
            return Piece([])
        last, pace = records[-1], pace or Pace(self._piece)
        self._context.cause = Cause(last.topic, last.partition, last.offset)
        for _ in one_by_one(records, self._fold, RECORD, pace):
            yield Piece([], len(records))
        last_piece = yield from self._finished(pace)
        return last_piece._replace(records=len(records))

    def at_time(self, time_ms: int, pace: Pace | None = None) -> Pieces:
        """`timer`."""
        context, pace = self._context, pace or Pace(self._piece)
        self._context.cause = Cause(TIMER_CAUSE, 0, time_ms)
        context.time_ms = max(context.time_ms, time_ms)
        for _ in one_by_one(context.timers.due(context.time_ms), lambda due: self._fire(*due), TOUCH, pace):
            yield Piece([])
        last = yield from self._finished(pace)
        for _ in self._notices.look(pace):
            yield Piece([])
        return last

    def _finished(self, pace: Pace) -> Pieces:
        if self._finishing.is_due():
            for _ in self._finishing.steps(pace):
                yield Piece(self._context.taken())
        return Piece(self._context.taken())

    def next_timer_ms(self) -> int | None:
        """When something becomes due by itself."""
        return self._context.timers.next_ms()

    # -- shards ----------------------------------------------------------------------------------------------------

    def restore(self, partition: int, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take over a partition's stored rows, before any record of it is applied."""
        whole(_silent(self._restoring.steps(partition, rows, Pace())))

    def restoring(self, partition: int, rows: Iterable[tuple[str, bytes]]) -> Pieces:
        """`restore`, in pieces. What is due of it comes with the next event."""
        return _silent(self._restoring.steps(partition, rows, Pace(self._piece)))

    def drop(self, partition: int) -> None:
        """The partition was revoked: forget its accounts."""
        whole(_silent(self._shards.drop(partition, Pace())))

    def dropping(self, partition: int) -> Pieces:
        """`drop`, in pieces."""
        return _silent(self._shards.drop(partition, Pace(self._piece)))

    def open_gate(self, partition: int) -> list[Effect]:
        """Let the accounts of a partition be decided; answers what was held back until now."""
        return whole(self.opening_gate(partition, Pace()))

    def opening_gate(self, partition: int, pace: Pace | None = None) -> Pieces:
        """`open_gate`, in pieces."""
        context, pace = self._context, pace or Pace(self._piece)
        self._context.cause = Cause(TIMER_CAUSE, 0, context.time_ms)
        context.gates[partition] = True

        def touch(key: BucketKey) -> None:
            if context.accounts.awake[key[0]].partition == partition:
                context.review(key)

        def look_at(account: Account) -> None:
            if account.partition != partition:
                return
            if not account.known:
                facts.become_provisional(context, account)
            context.touched |= {(account.account, b.name): None for b in account.buckets.values() if b.defaulted}

        context.later.append(partial(one_by_one, list(self._under), touch, TOUCH))
        context.later.append(partial(one_by_one, list(context.accounts.awake.values()), look_at, TOUCH))
        return (yield from self._finished(pace))

    def shut_gate(self, partition: int) -> None:
        """Fold and watch the partition, but emit no order for it."""
        self._context.gates[partition] = False

    def forget_unconfirmed(self, partition: int) -> None:
        """A producer failed: orders that were never read back are unknown, and are decided again from the level."""
        whole(self.forgetting_unconfirmed(partition))

    def forgetting_unconfirmed(self, partition: int) -> Pieces:
        """`forget_unconfirmed`, in pieces. What is due of it comes with the next event."""

        def forget(place: tuple[Account, Bucket]) -> None:
            account, bucket = place
            if account.partition != partition:
                return
            for order in [each for each in bucket.orders.values() if not each.confirmed]:
                if not order.is_recorded:
                    del bucket.orders[order.order_id]
                self._context.review((account.account, bucket.name))

        return _silent(one_by_one(self._context.awake_buckets(), forget, TOUCH, Pace(self._piece)))

    def decide_again(self, places: Sequence[Place]) -> list[Effect]:
        """Orders that were emitted and never sent: what their buckets need now. An issued order that was to be repeated, is."""
        return whole(self.deciding_again(places))

    def deciding_again(self, places: Sequence[Place]) -> Pieces:
        """`decide_again`, in pieces."""
        pace = Pace(self._piece)
        self._context.cause = Cause(TIMER_CAUSE, 0, self._context.time_ms)
        for account, bucket, order in take_back(self._context, places):
            if self._context.may_order(account):
                order.resends = max(0, order.resends - 1)  # the repetition that was held back did not happen
                self._decider.resend(account, bucket, order)
            else:
                self._context.unanswered[account.account, bucket.name, order.order_id] = None
        return (yield from self._finished(pace))

    def notional(self, order: Order) -> int:
        """What an order closes, e18 of the account's valuation asset."""
        return notional_of(self._context, order)

    # -- views -----------------------------------------------------------------------------------------------------

    def buckets(self) -> Iterator[BucketView]:
        """Every bucket at the last marks, by account, then bucket."""
        places = sorted(self._context.all_buckets(), key=lambda place: (place[0].account, place[1].name))
        for account, bucket in places:
            context = self._context
            yield view_of(account, bucket, self._valuer, context.ladders, context.now_of(account))

    def view(self, account: str, bucket: str) -> BucketView | None:
        """One bucket at the last marks; None where there is no such bucket."""
        context, found = self._context, self._context.look((account, bucket))
        return None if found is None else view_of(*found, self._valuer, context.ladders, context.now_of(found[0]))

    def equity(self, account: str, bucket: str) -> int | None:
        """A bucket's equity at the last marks, e18; None where it cannot be known."""
        found = self._context.look((account, bucket))
        valuation = None if found is None else self._valuer.value_bucket(*found, self._context.now_of(found[0]))
        return valuation.equity_e18() if isinstance(valuation, Valuation) else None

    def watch_equities(self, listener: Callable[[BucketKey, int], None]) -> None:
        """Have every reviewed equity told, e18; only of an engine that observes."""
        assert self._watch is not None, "made with observe"
        self._watch.listener = listener

    def places(self) -> Iterator[BucketKey]:
        """Account and name of every bucket."""
        for account, bucket in self._context.all_buckets():
            yield account.account, bucket.name

    def state_hash(self) -> str:
        return state_hash(self._context.accounts.everyone())

    def halts(self) -> dict[str, int]:
        """How many halts of an operator are in force, by their scope."""
        market = self._context.market
        return {"all": int(market.halted_all), "instrument": len(market.halted), "account": len(market.halted_accounts)}

    def totals(self) -> dict[tuple[str, str], int]:
        """What each segregation class ("client", "house") holds of each asset: Σ balances, e18."""
        return self._context.totals.amounts()

    @property
    def lowest_equity(self) -> str | None:
        return None if self._watch is None else self._watch.lowest_equity

    @property
    def lowest_equity_bucket(self) -> str | None:
        return None if self._watch is None else self._watch.lowest_equity_bucket

    @property
    def negative_buckets(self) -> set[BucketKey]:
        return set() if self._watch is None else self._watch.negative

    @property
    def stats(self) -> Stats:
        return Stats(
            records=self._context.records, refused=self._context.refused, duplicates=self._context.duplicates,
            skipped_prices=self._context.market.book.skipped, void_orders=self._context.void_orders,
            newly_liquidatable=self._context.newly_liquidatable,
        )  # fmt: skip

    def coming_rises(self) -> list[ComingRise]:
        """Published rises of multipliers that do not hold yet, with what they will make liquidatable at the present marks."""
        return self._notices.rises()

    def epoch(self, partition: int) -> int | None:
        """The offset of the latest claim that was read of the partition."""
        return self._context.epochs.get(partition)

    def survey(self) -> Iterator[tuple[str, str, str]]:
        """Account, bucket and status of every bucket that may be in trouble; records may be applied while it is walked through."""
        for account in self._context.accounts.uneasy():
            for bucket in list(account.buckets.values()):
                yield account.account, bucket.name, bucket.status

    def price_views(self, now_ms: int) -> Iterator[tuple[str, str | None, int, str]]:
        """Price id, mark in use, its source's time and its grade at `now_ms`, of every price."""
        market = self._context.market
        for price_id, state in list(market.book):
            mark = None if state.mark is None else to_text(state.mark)
            yield price_id, mark, state.ts_ms, market.grade(price_id, now_ms)

    def price_times(self) -> dict[str, int]:
        """Price id -> source time of the mark in use."""
        return {price_id: state.ts_ms for price_id, state in self._context.market.book if state.mark is not None}

    def marks_in_use(self, now_ms: int) -> dict[str, MarkInUse]:
        """The prices that buckets depend on."""
        market, search = self._context.market, self._search
        return {
            price_id: MarkInUse(ts_ms=state.ts_ms, grade=market.grade(price_id, now_ms), buckets=count)
            for price_id, state in market.book if (count := search.holder_count(price_id))
        }  # fmt: skip

    # -- folding ---------------------------------------------------------------------------------------------------

    def _fold(self, record: Record) -> None:
        context = self._context
        context.records[record.topic] += 1
        message = decode(record.topic, record.value)
        if isinstance(message, Refusal):
            self._refuse(record, message)
            self._doubt_undecodable(record, message)
            return
        fold = self._folds.get(record.topic)
        if fold is None:
            return  # topics that are only written, or whose reader is another service
        if record.topic in BROADCAST_TOPICS:
            context.time_ms = max(context.time_ms, record.timestamp_ms)
            context.market.places[record.topic] = (record.partition, record.offset)
            refusal = fold(message, record)
        else:
            refusal = self._misplaced(message, record) or fold(message, record)
            context.read[record.topic, record.partition] = record.offset
            compare_statements(context)
        if refusal is not None:
            self._refuse(record, refusal)

    def _refuse(self, record: Record, refusal: Refusal) -> None:
        self._context.refused[refusal.reason] += 1
        self._context.dead_letters.append(DeadLetter(cause=self._context.cause, record=record, refusal=refusal))

    def _misplaced(self, message: Any, record: Record) -> Refusal | None:
        """Another client's default partitioner is the usual cause of an account in a wrong partition."""
        count = self._context.settings.account_partitions
        account = getattr(message, "account", None)
        if count is None or account is None or not self._context.is_misplaced(account, record):
            return None
        right = partition_of(account, count)
        return Refusal(Reason.WRONG_PARTITION, f"{account} belongs to partition {right} of {count}: use murmur2")

    def _doubt_undecodable(self, record: Record, refusal: Refusal) -> None:
        """A fact that cannot be read makes the bucket it names dirty, or all buckets of the account of its key."""
        if record.topic not in DOUBTFUL_TOPICS:
            return
        named = names_in(record)
        if named is None:
            return
        if self._context.is_misplaced(named.account, record):
            return
        account = self._context.accounts.get(named.account)
        if account is None:
            account = facts.account_of(self._context, named.account, record)
        bucket = named.bucket
        if bucket is None and record.topic == "fills" and account.known and account.margin_mode == "isolated":
            bucket = named.instrument
        facts.doubt_refused(self._context, account, bucket, refusal, record)

    def _fold_risk(self, message: RiskParameters, record: Record) -> Refusal | None:
        refusal = self._broadcasts.fold_risk(message, record)
        self._notices.read(message)
        return refusal

    def _fold_order_event(self, event: OrderEvent, record: Record) -> Refusal | None:
        account = facts.account_of(self._context, event.account, record, event.account_sequence)
        bucket = account.bucket(event.bucket)
        orders.fold_event(self._context, account, bucket, event)
        self._context.touch(account, bucket)
        return None

    def _fold_liquidation_record(self, message: LiquidationRecord, record: Record) -> Refusal | None:
        context = self._context
        if isinstance(message, Claim):
            context.epochs[record.partition] = record.offset
            return None
        if message.epoch != context.epochs.get(record.partition, 0):
            context.void_orders += 1
            return None
        account = facts.account_of(context, message.account, record)
        bucket = account.bucket(message.bucket)
        orders.read_back(context, account, bucket, message)
        context.touch(account, bucket)
        return None

    def _fire(self, kind: str, subject: tuple[str, ...]) -> None:
        context = self._context
        if kind == "price":
            self._broadcasts.price_due(subject[0])
        elif kind == "multiplier":
            self._broadcasts.multiplier_due(subject[0])
        elif kind == "control":
            self._broadcasts.halt_due(subject[0], subject[1])
        elif kind in ("account", "gap"):
            account = context.accounts.awake.get(subject[0])  # one at rest is known, and misses nothing
            if account is not None:
                (facts.become_provisional if kind == "account" else alarm_gap)(context, account)
        else:
            found = context.find((subject[0], subject[1]))
            if found is not None:
                self._fire_bucket(kind, *found, subject[-1])

    def _fire_bucket(self, kind: str, account: Account, bucket: Bucket, order_id: str) -> None:
        context = self._context
        if kind == "bucket":
            context.touched[account.account, bucket.name] = None
        elif kind == "reserve":
            orders.doubt_unfilled_reserve(context, account, bucket, order_id)
        else:
            context.unanswered[account.account, bucket.name, order_id] = None

    # -- reviewing -------------------------------------------------------------------------------------------------

    def _is_under(self, account: Account, valuation: Valuation) -> bool:
        return self._decider.judge.breaches(account, valuation)

    def _review(self, account: Account, bucket: Bucket) -> Valuation | Incomplete | None:
        """The bucket's valuation if its status or a decision is due; None, and a new place in the index, if nothing is."""
        context, key = self._context, (account.account, bucket.name)
        if self._search.keeps(account, bucket):
            self._under.pop(key, None)
            self.census.calm(key)
            return None
        valuation = self._valuer.value_bucket(account, bucket, context.now_of(account))
        under = isinstance(valuation, Valuation) and self._is_under(account, valuation)
        if under:
            if context.stepped and key not in self._under and isinstance(valuation, Valuation):
                self._note_step(valuation)
            self._under[key] = None
        else:
            self._under.pop(key, None)
        if self._watch is not None and isinstance(valuation, Valuation):
            self._watch.note(key, valuation.equity_e18())
        if account.known and (under or context.ladders.status_of(account, bucket, valuation) != bucket.status):
            return valuation
        if bucket.status not in DISTRESSED:
            orders.end_distress(context, account, bucket)
        self._place(account, bucket, valuation)
        return None

    def _note_step(self, valuation: Valuation) -> None:
        """A step of a multiplier made the bucket liquidatable: count what it holds of that instrument."""
        for leg in valuation.legs:
            if leg.key[0] in self._context.stepped:
                self._context.newly_liquidatable[leg.key[0]] += -(-leg.notional // (E36 * valuation.divisor))

    def _settle(self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete) -> None:
        status = self._context.ladders.status_of(account, bucket, valuation)
        if status != bucket.status:
            self._change_status(account, bucket, status, valuation)
        if status not in DISTRESSED:
            orders.end_distress(self._context, account, bucket)
        self._place(account, bucket, valuation)

    def _place(self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete) -> None:
        self._search.place(account, bucket, valuation, self._valuer.dependencies(account, bucket))
        is_under = (account.account, bucket.name) in self._under
        self.census.reviewed(self._context, account, bucket, valuation, is_under=is_under)

    def _change_status(self, account: Account, bucket: Bucket, status: str, valuation: Valuation | Incomplete) -> None:
        context, known = self._context, valuation if isinstance(valuation, Valuation) else None
        distance = (
            None if known is None else distance_to_liquidation(account, bucket, known, self._valuer, context.market)
        )
        message = AccountState(
            account=account.account, bucket=bucket.name, client=account.client or account.account,
            status=status, previous_status=bucket.status,  # type: ignore[arg-type]  # both are one of Status
            valuation_asset=account.valuation_asset or "none", equity=None if known is None else to_text(known.equity_e18()),
            initial_margin=None if known is None else to_text(known.requirement_e18(known.initial)),
            maintenance_margin=None if known is None else to_text(known.requirement_e18(known.maintenance)),
            free_margin=None if known is None else to_text(int((known.equity - known.initial) // known.unit_e18)),
            maintenance_excess=None if known is None else to_text(int((known.equity - known.maintenance) // known.unit_e18)),
            detail=valuation.missing if isinstance(valuation, Incomplete) else None, ts_ms=context.now_of(account),
            distance_instrument=None if distance is None else distance.instrument,
            distance_price=None if distance is None else distance.price,
            distance_percent=None if distance is None else distance.percent,
            distance_sigmas=None if distance is None else distance.sigmas,
        )  # fmt: skip
        self.census.changed(bucket.status, status)
        bucket.status = status
        if status in STATUS_ALARMS:
            context.alarm(STATUS_ALARMS[status], message.detail or "", account=account.account, bucket=bucket.name)
        context.mark_dirty(account, bucket.name)
        context.effects.append(
            Emit(
                cause=context.cause, topic=STATES_TOPIC, key=bucket_field(account.account, bucket.name),
                partition=account.partition, message=message,
            )
        )  # fmt: skip

    def _urgency(self, account: Account, bucket: Bucket, valuation: Valuation) -> Urgency:
        """Sort key: worst first by equity over what one sigma moves it, debt without positions before all; ties by id."""
        moves = sum(leg.notional * leg.settle_price * self._context.market.sigma(leg.key[0]) for leg in valuation.legs)
        if not moves:
            return (0 if valuation.equity < 0 else 2), 0, Ratio(0, 1), account.account, bucket.name
        # equity is in 1/(E108·D), notional·price·sigma in 1/(E90·D): the common factor does not change the order.
        ratio = Ratio(valuation.equity, moves)
        return 1, ratio.floor, ratio, account.account, bucket.name


def _silent(steps: Steps) -> Pieces:
    """Work that has no effects by itself."""
    for _ in steps:
        yield Piece([])
    return Piece([])
