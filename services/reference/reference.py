"""The reference: the engine's interface, every bucket valued plainly after every record."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from msgspec.structs import replace

from services.contracts.codec import decode
from services.contracts.identifiers import partition_of
from services.contracts.messages import (
    Account,
    AccountState,
    AccountStatement,
    Claim,
    Default,
    Fill,
    Message,
    Order,
    OrderEvent,
    Transfer,
)  # fmt: skip
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.contracts.topics import BROADCAST_TOPICS, BY_NAME, Role
from services.contracts.views import BucketView
from services.engine.effects import Alarm, AlarmName, Cause, DeadLetter, Effect, Emit
from services.engine.settings import Settings
from services.reference import fold, segregation
from services.reference.broadcast import confirm_prices, fold_broadcast
from services.reference.decisions import Round, may_decide, urgency
from services.reference.describe import hash_of, state_message, view_of
from services.reference.holdings import PortfolioValuator, Valuation
from services.reference.lifecycle import NOT_A_RECOVERY, Condition, end_distress, is_open, open_orders, status_of
from services.reference.outlook import Outlook, outlook, value_of
from services.reference.rounding import exact, required
from services.reference.state import AccountBook, Bucket, Doubt, World
from services.reference.timing import due_times, pass_time
from services.reference.undecodable import doubt_undecodable


class Reference:
    """Single-threaded and pure. `portfolio` values portfolio-mode buckets; without it they are incomplete."""

    def __init__(
        self, settings: Settings, *, portfolio: PortfolioValuator | None = None, gates_open: bool = True
    ) -> None:
        self._world = World(settings, gates_open)
        self._portfolio = portfolio
        self._statements: list[tuple[Record, AccountStatement]] = []  # not yet read up to their offsets
        self._read: dict[tuple[str, int], int] = {}  # by topic and partition: the last offset
        self._cause = Cause("timer", 0, 0)

    def apply(self, record: Record) -> list[Effect]:
        """Fold one record, then decide."""
        effects = self._fold(record)
        return effects + self._decide()

    def apply_batch(self, records: Sequence[Record]) -> list[Effect]:
        return [effect for record in records for effect in self.apply(record)]

    def fold_prices(self, records: Sequence[Record]) -> list[Effect]:
        """After a lag: all of them first, then one decision."""
        effects = [effect for record in records for effect in self._fold(record)]
        return effects + (self._decide() if records else [])

    def timer(self, time_ms: int) -> list[Effect]:
        """Time goes on, never back."""
        self._cause = Cause("timer", 0, time_ms)
        self._world.broadcast_ms = max(self._world.broadcast_ms, time_ms)
        return self._decide()

    def next_timer_ms(self) -> int | None:
        return min(due_times(self._world), default=None)

    def open_gate(self, partition: int) -> list[Effect]:
        self._world.gates[partition] = True
        self._cause = Cause("timer", 0, self._world.broadcast_ms)
        return self._decide()

    def shut_gate(self, partition: int) -> None:
        self._world.gates[partition] = False

    def forget_unconfirmed(self, partition: int) -> None:
        """Orders that were emitted and never read back were not issued."""
        for book, bucket in self._world.every_bucket():
            if self._world.partition(book.account) != partition:
                continue
            gone = {order_id for order_id, s in bucket.orders.items() if s.order is not None and not s.confirmed}
            bucket.orders = {order_id: s for order_id, s in bucket.orders.items() if order_id not in gone}
            if bucket.distress is not None:
                for orders in bucket.distress.orders.values():
                    for order_id in gone & orders.keys():
                        del orders[order_id]

    def buckets(self) -> Iterator[BucketView]:
        """Sorted by account, then bucket; at the last marks."""
        for book, bucket in self._world.every_bucket():
            yield view_of(self._outlook(book), book, bucket)

    def state_hash(self) -> str:
        return hash_of(self._world)

    # Folding

    def _fold(self, record: Record) -> list[Effect]:
        self._cause = Cause(record.topic, record.partition, record.offset)
        message = decode(record.topic, record.value)
        if isinstance(message, Refusal):
            doubt_undecodable(self._world, record, message)
            return self._refused(record, message)
        if BY_NAME[record.topic].role is Role.OUTPUT:
            return []
        if record.topic in BROADCAST_TOPICS:
            self._world.broadcast_ms = max(self._world.broadcast_ms, record.timestamp_ms)
            self._world.evidence[record.topic] = (record.partition, record.offset)
            outcome = fold_broadcast(self._world, message, record)
            if isinstance(outcome, Refusal):
                return self._refused(record, outcome)
            return [self._alarm(name, None, "", instrument, detail) for name, instrument, detail in outcome]
        if isinstance(message, Claim):
            self._world.epochs[record.partition if self._world.settings.account_partitions else 0] = record.offset
            return []
        return self._fold_account_record(record, message)

    def _fold_account_record(self, record: Record, message: Message) -> list[Effect]:
        assert isinstance(message, Account | Fill | Transfer | OrderEvent | AccountStatement | Order)
        misplaced = self._misplaced(record, message.account)
        if misplaced is not None:
            return self._refused(record, misplaced)
        world = self._world
        seen_ms = max(world.broadcast_ms, record.timestamp_ms)
        book = world.accounts.setdefault(message.account, AccountBook(message.account, seen_ms))
        book.own_ms = max(book.own_ms, record.timestamp_ms)
        self._read[record.topic, record.partition] = record.offset
        sequence = getattr(message, "account_sequence", None)
        if sequence is not None:
            book.sequences.add(sequence)
        effects = self._fold_into(book, message, record)
        book.evidence[record.topic] = (record.partition, record.offset)
        return effects + self._compare_statements()

    def _misplaced(self, record: Record, account: str) -> Refusal | None:
        count = self._world.settings.account_partitions
        if count is not None and partition_of(account, count) != record.partition:
            return Refusal(Reason.WRONG_PARTITION, f"{account} belongs in partition {partition_of(account, count)}")
        return None

    def _fold_into(self, book: AccountBook, message: Message, record: Record) -> list[Effect]:
        world = self._world
        refusal: Refusal | None = None
        match message:
            case Account():
                refusal = fold.fold_account(world, book, message)
            case Fill() | Transfer():
                return self._fold_fact(book, message, record)
            case OrderEvent():
                fold.fold_order_event(world, book, message)
            case Order():
                if fold.fold_order(world, book, message) and fold.fixes_deficit(book, message):
                    return self._missing(book, message)
            case AccountStatement():
                self._statements.append((record, message))
        return [] if refusal is None else self._refused(record, refusal)

    def _fold_fact(self, book: AccountBook, fact: Fill | Transfer, record: Record) -> list[Effect]:
        verdict = fold.refusal_of_duplicate(self._world, book, fact, record)
        if isinstance(verdict, Refusal):
            return self._refused(record, verdict)
        if verdict:
            return []
        if isinstance(fact, Fill):
            refusal = fold.fold_fill(self._world, book, fact, record)
            return [] if refusal is None else self._refused(record, refusal)
        return self._fold_transfer(book, fact)

    def _fold_transfer(self, book: AccountBook, transfer: Transfer) -> list[Effect]:
        alarms: list[Effect] = []
        bucket = transfer.bucket or "main"
        if fold.fold_transfer(self._world, book, transfer):
            detail = f"less {transfer.asset} than is locked"
            alarms.append(self._alarm(AlarmName.LOCKED_WITHDRAWN, book, bucket, "", detail))
        other = segregation.other_leg(self._world, transfer)
        segregation.remember(self._world, transfer)
        if other is not None and segregation.mixes_classes(book, other):
            alarms.append(self._alarm(AlarmName.CLASSES_MIXED, book, bucket, "", f"with {other.account}"))
        return alarms

    def _compare_statements(self) -> list[Effect]:
        """Each statement once everything it covers was read; one that more was read than it covers, or not all entered, says nothing."""
        effects: list[Effect] = []
        waiting = []
        for record, statement in self._statements:
            book, places = self._world.accounts[statement.account], statement.through.items()
            if any(self._read.get((topic, record.partition), -1) < offset for topic, offset in places):
                waiting.append((record, statement))
            elif not book.parked and all(book.evidence.get(topic, (0, -1))[1] <= offset for topic, offset in places):
                for name, reading in fold.statement_differences(book, statement).items():
                    book.bucket(name).doubts.append(Doubt("statement", record.topic, record.offset, reading))
                    effects.append(self._alarm(AlarmName.STATEMENT_DIFFERS, book, name, "", "statement"))
        self._statements = waiting
        return effects

    def _refused(self, record: Record, refusal: Refusal) -> list[Effect]:
        return [DeadLetter(cause=self._cause, record=record, refusal=refusal)]

    def _alarm(self, name: AlarmName, book: AccountBook | None, bucket: str, instrument: str, detail: str) -> Alarm:
        now_ms = self._world.broadcast_ms if book is None else self._world.now_ms(book)
        account = "" if book is None else book.account
        return Alarm(
            cause=self._cause,
            name=name,
            account=account,
            bucket=bucket,
            instrument=instrument,
            detail=detail,
            ts_ms=now_ms,
        )

    # Deciding

    def _outlook(self, book: AccountBook) -> Outlook | None:
        return outlook(self._world, book, self._portfolio) if book.is_known else None

    def _decide(self) -> list[Effect]:
        """What time brought, unanswered orders again, new orders worst bucket first, then changes of status."""
        world = self._world
        effects: list[Effect] = [
            self._alarm(name, None, "", instrument, detail) for name, instrument, detail in confirm_prices(world)
        ]
        effects += [self._alarm(name, book, bucket, "", detail) for name, book, bucket, detail in pass_time(world)]
        valued = []
        for book, bucket in world.every_bucket():
            view = self._outlook(book)
            if view is not None:
                valued.append((view, book, bucket, value_of(view, bucket)))
        effects += self._resend()
        effects += self._order(valued)
        for view, book, bucket, valuation in valued:
            effects += self._change_status(view, book, bucket, valuation)
        return effects

    def _resend(self) -> list[Effect]:
        """No terminal event in time: the same order again with fresh validity, each time waiting twice as long."""
        effects: list[Effect] = []
        settings = self._world.settings
        for book, bucket in self._world.every_bucket():
            now_ms = self._world.now_ms(book)
            halted = self._world.is_halted("all", "*", now_ms) or self._world.is_halted("account", book.account, now_ms)
            if halted or not self._world.gate_is_open(book.account):
                continue
            for name, state in sorted(bucket.orders.items()):
                is_due = is_open(state, book.filled.get(name, Fraction(0))) and now_ms >= state.resend_at_ms
                if state.order is None or state.is_terminal or not is_due:
                    continue
                state.resent += 1
                state.resend_at_ms = now_ms + (settings.order_ttl_ms + settings.clock_skew_ms) * 2**state.resent
                state.order = replace(
                    state.order, epoch=self._world.epoch(book.account), ts_ms=now_ms,
                    valid_until_ms=now_ms + settings.order_ttl_ms,
                )  # fmt: skip
                order = state.order
                effects.append(
                    self._alarm(AlarmName.ORDER_UNANSWERED, book, bucket.bucket, order.instrument, order.order_id)
                )
                effects.append(self._emit(book, "liquidation-orders", book.account, order))
        return effects

    def _order(self, valued: list[tuple[Outlook, AccountBook, Bucket, Valuation | None]]) -> list[Effect]:
        breached = [
            (urgency(view, valuation), book.account, bucket.bucket, view, bucket, valuation)
            for view, book, bucket, valuation in valued
            if valuation is not None and view.breaches(valuation, bucket.ledger.holdings())
        ]
        self._world.hot_accounts = {account for _, account, *_ in breached}
        effects: list[Effect] = []
        for _, _, _, view, bucket, valuation in sorted(breached, key=lambda entry: entry[:3]):
            if may_decide(view, bucket):
                for order in Round(view, bucket, bucket.ledger.holdings(), valuation).run():
                    effects += self._issue(view, bucket, order)
        return effects

    def _issue(self, view: Outlook, bucket: Bucket, order: Order) -> list[Effect]:
        fold.issue(self._world, bucket, order)
        return [self._emit(view.book, "liquidation-orders", order.account, order)]

    def _missing(self, book: AccountBook, order: Order) -> list[Effect]:
        """The first takeover of a distress that found money missing was read: it says how much. Nothing while the asset is unknown."""
        if book.record is None:
            return []
        spec = self._world.specs.get(order.instrument)
        message = Default(
            default_id=order.order_id, account=order.account, bucket=order.bucket, client=order.client,
            asset=book.record.valuation_asset, deficit=required(-exact(order.equity)),
            insurance_pool=spec.insurance_pool if spec is not None and order.stage == "takeover" else None,
            order_id=order.order_id, ts_ms=order.ts_ms,
        )  # fmt: skip
        return [self._emit(book, "defaults", order.account, message)]

    def _change_status(
        self, view: Outlook, book: AccountBook, bucket: Bucket, valuation: Valuation | None
    ) -> list[Effect]:
        record = book.record
        assert record is not None, "only accounts that are known are valued"
        condition = Condition(
            rungs=self._world.settings.rungs(record.segregation or "client", record.margin_mode),
            is_dirty=bool(bucket.doubts),
            has_open_order=bool(open_orders(book, bucket)),
            is_empty=bucket.ledger.is_empty,
            valuation=valuation,
        )
        previous, bucket.status = bucket.status, status_of(bucket.status, condition, self._world.settings)
        if bucket.status not in NOT_A_RECOVERY:
            end_distress(book, bucket)
            bucket.defaulted = bucket.defaulted and not self._world.gate_is_open(book.account)
        if bucket.status == previous:
            return []
        effects: list[Effect] = []
        alarm = {"dirty": AlarmName.BUCKET_DIRTY, "incomplete": AlarmName.BUCKET_INCOMPLETE}.get(bucket.status)
        if alarm is not None:
            effects.append(self._alarm(alarm, book, bucket.bucket, "", ""))
        message = state_message(view, bucket, previous, valuation)
        effects.append(self._emit(book, "account-states", f"{book.account}|{bucket.bucket}", message))
        return effects

    def _emit(self, book: AccountBook, topic: str, key: str, message: Order | AccountState | Default) -> Emit:
        partition = None if topic == "defaults" else self._world.partition(book.account)
        return Emit(cause=self._cause, topic=topic, key=key, partition=partition, message=message)
