"""What the parts of the engine share: settings, market, accounts, time, and the effects of the event at hand."""

from collections import Counter, deque
from collections.abc import Iterator

from services.contracts.identifiers import partition_of
from services.contracts.messages import AccountStatement
from services.contracts.records import Record
from services.engine.accounts import Accounts
from services.engine.columns import Columnist
from services.engine.crossings import Crossings
from services.engine.effects import Alarm, AlarmName, Cause, DeadLetter, Effect
from services.engine.gap import GapGuard
from services.engine.lifecycle import Ladders
from services.engine.market import Market
from services.engine.pieces import Later
from services.engine.settings import Settings
from services.engine.state import Account, Bucket, BucketKey
from services.engine.timers import Timers
from services.engine.totals import Totals

TIMER_CAUSE = "timer"


class Context:
    """Mutable state of one engine. `touched` collects the buckets that the event at hand may have changed."""

    def __init__(self, settings: Settings, *, gates_open: bool, most_awake: int) -> None:
        self.settings = settings
        self.market = Market(settings)
        self.gap = GapGuard(self.market, settings)
        self.ladders = Ladders(settings)
        self.totals = Totals()
        self.columnist = Columnist()
        self.crossings = Crossings(settings.transfer_window)
        self.timers = Timers()
        self.time_ms = 0  # of broadcast records and timers; an account's own records move only its own time
        self.epochs: dict[int, int] = {}
        self.gates_open = gates_open
        self.gates: dict[int, bool] = {}
        self.dirty: dict[int, set[str]] = {}
        self.cause = Cause(TIMER_CAUSE, 0, 0)
        self.dead_letters: list[DeadLetter] = []
        self.effects: list[Effect] = []
        self.touched: dict[BucketKey, None] = {}
        self.later: deque[Later] = deque()  # what folding left to be done before the review, as it may be much
        self.accounts = Accounts(self.touched, most_awake)
        self.records: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.unanswered: dict[tuple[str, str, str], None] = {}  # orders that are due to be sent again
        self.read: dict[tuple[str, int], int] = {}  # topic, partition -> offset applied last
        self.statements: list[tuple[Record, AccountStatement]] = []  # that wait for what they cover to be read
        self.stepped: set[str] = set()  # instruments whose multiplier rose with the event at hand
        self.newly_liquidatable: Counter[str] = Counter()  # by instrument: notional, e18 of its settlement asset
        self.duplicates = 0
        self.void_orders = 0

    def taken(self) -> list[Effect]:
        """What became due since this was asked last, refused records first."""
        if not (self.effects or self.dead_letters):
            return []
        effects = [*self.dead_letters, *self.effects]
        self.dead_letters, self.effects = [], []
        return effects

    def is_misplaced(self, account: str, record: Record) -> bool:
        """Whether the record lies in a partition that is not its account's."""
        count = self.settings.account_partitions
        return count is not None and partition_of(account, count) != record.partition

    def now_of(self, account: Account) -> int:
        return max(self.time_ms, account.time_ms)

    def gate_is_open(self, partition: int) -> bool:
        return self.gates.get(partition, self.gates_open)

    def may_order(self, account: Account) -> bool:
        """Whether neither a gate nor a halt forbids orders for the account."""
        halted = self.market.halted_all or account.account in self.market.halted_accounts
        return self.gate_is_open(account.partition) and not halted

    def review(self, key: BucketKey) -> None:
        self.touched[key] = None

    def touch(self, account: Account, bucket: Bucket) -> None:
        """Have the bucket reviewed, and its row written."""
        self.touched[account.account, bucket.name] = None
        self.mark_dirty(account, bucket.name)

    def mark_dirty(self, account: Account, bucket: str) -> None:
        """The row of a bucket ("" for the account's own) must be written."""
        dirty = self.dirty.get(account.partition)
        if dirty is None:
            dirty = self.dirty[account.partition] = set()
        dirty.add(f"{account.account}|{bucket}")

    def alarm(self, name: AlarmName, detail: str, *, account: str = "", bucket: str = "", instrument: str = "") -> None:
        known = self.accounts.awake.get(account)
        self.effects.append(
            Alarm(
                cause=self.cause, name=name, account=account, bucket=bucket, instrument=instrument, detail=detail,
                ts_ms=self.time_ms if known is None else self.now_of(known),
            )
        )  # fmt: skip

    def find(self, key: BucketKey) -> tuple[Account, Bucket] | None:
        """An account and its bucket, awake from now on."""
        account = self.accounts.get(key[0])
        bucket = None if account is None else account.buckets.get(key[1])
        return None if account is None or bucket is None else (account, bucket)

    def look(self, key: BucketKey) -> tuple[Account, Bucket] | None:
        """As `find`, for reading only."""
        account = self.accounts.look(key[0])
        bucket = None if account is None else account.buckets.get(key[1])
        return None if account is None or bucket is None else (account, bucket)

    def awake_buckets(self) -> Iterator[tuple[Account, Bucket]]:
        for account in list(self.accounts.awake.values()):
            for bucket in account.buckets.values():
                yield account, bucket

    def all_buckets(self) -> Iterator[tuple[Account, Bucket]]:
        """For reading only."""
        for account in self.accounts.everyone():
            for bucket in account.buckets.values():
                yield account, bucket
