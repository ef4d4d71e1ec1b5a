"""After a run: everything recomputed from the topics, and what the venue, the tables and the workers say compared with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial

from services.adapters.presets import load_presets
from services.contracts.codec import decode
from services.contracts.decimals import parse
from services.contracts.journal import JOURNAL, decode_journal, rows_digest
from services.contracts.messages import Claim, Fill, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.settings import Settings
from services.replay.journalled import JournalError, Recomputed
from services.replay.verify import check
from tests.chaos.topics import Topics, by_account
from tests.chaos.venue import PARTITIONS, Key
from tests.simulation.oracle import TAG_BYTES, Fold, Messages, Violation, check_order, check_rows, valid_orders
from tests.simulation.venue import ORDERS

Rows = Mapping[int, Mapping[str, bytes]]
Offsets = Mapping[int, Mapping[str, int]]
# A record may reach its topic some time before the kill: its journal was on the way all the while.
LAST_GASP_MS = 20_000
REFERENCED = 4  # orders of a partition that the reference looks at, or some more


@dataclass(frozen=True)
class Recorded:
    """What a run left behind. `killed`: instances and when they were killed; the rest as the venue knows it itself."""

    topics: Topics
    rows: Rows
    offsets: Offsets
    killed: Mapping[str, int]
    positions: Mapping[Key, int]
    fill_ids: AbstractSet[str]
    executed: Sequence[str]


def prove(recorded: Recorded, say: Callable[[str], None] = lambda _: None) -> Proof:
    """Every check; `say` hears how far it is."""
    proof = Proof(recorded)
    for judge in (
        proof.check_venue,
        proof.check_tables,
        proof.check_orders,
        proof.check_executions,
        proof.check_journal,
        proof.check_by_reference,
    ):
        judge()
        say(f"{len(proof.found)} found, {dict(proof.figures)}")
    return proof


@dataclass
class Proof:
    """What was found wrong, and what was looked at."""

    recorded: Recorded
    found: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.topics = self.recorded.topics
        self.messages = Messages(self.topics)
        self.folds = [Fold(self.messages, p).advance(self.topics.ends(p)) for p in range(PARTITIONS)]

    # -- the ledger ----------------------------------------------------------------------------------------------------

    def check_venue(self) -> None:
        """The topics hold what the venue told, so that it may be judged by them; every fill once."""
        told = {key: held for key, held in self.recorded.positions.items() if held}
        held: dict[Key, int] = {}
        seen: set[str] = set()
        for fold in self.folds:
            held |= fold.positions
            seen |= {name for name in fold.ids if name.startswith("f-")}
        self._expect(
            seen == self.recorded.fill_ids,
            f"the topics hold {len(seen)} fills, the venue told {len(self.recorded.fill_ids)}",
        )
        self._expect(told == held, "positions by the topics are not those of the venue's own book")
        self._expect(not self.topics.log("dead-letters", 0), "records of the venue went to the dead letters")
        self.figures["fills"] = len(seen)

    def check_tables(self) -> None:
        """Every account topic is stored to its end (but for claims made in leaving), and the rows are the fold of it."""
        for partition, fold in enumerate(self.folds):
            ends = self.topics.ends(partition)
            stored = {topic: self.recorded.offsets[partition].get(topic, 0) for topic in ACCOUNT_TOPICS}
            left = self.messages.read(ORDERS, partition, stored[ORDERS], ends[ORDERS])
            is_whole = stored | {ORDERS: 0} == ends | {ORDERS: 0} and all(isinstance(m, Claim) for _, m in left)
            self._expect(is_whole, f"shard {partition} is stored at {stored}, its topics end at {ends}")
            sealed = {name.encode(): bytes(TAG_BYTES) + row for name, row in self.recorded.rows[partition].items()}
            self._try(partial(check_rows, fold, sealed))

    # -- the orders ----------------------------------------------------------------------------------------------------

    def check_orders(self) -> None:
        """Each valid order follows from its evidence by the oracle, and no other order stood open beside it."""
        for partition in range(PARTITIONS):
            views = by_account(self.messages, partition)
            checked: set[tuple[str, str]] = set()
            for record, order in valid_orders(self.messages, partition):
                evidence = (order.order_id, repr(order.evidence))
                if evidence not in checked:
                    checked.add(evidence)
                    self._try(partial(check_order, views[order.account], partition, record, order))
        self._count_orders()

    def _count_orders(self) -> None:
        for partition in range(PARTITIONS):
            valid = {record.offset for record, _ in valid_orders(self.messages, partition)}
            written = {r.offset for r, m in self.messages.read(ORDERS, partition, 0, 1 << 60) if isinstance(m, Order)}
            self.figures["order_records"] += len(written)
            self.figures["void"] += len(written - valid)
            self.figures["orders"] += len({order.order_id for _, order in valid_orders(self.messages, partition)})
            self.figures["claims"] += sum(1 for r in self.topics.log(ORDERS, partition) if r.offset not in written)

    def check_executions(self) -> None:
        """Each order executed at most once, as a valid one, for no more than it says, and only ever reduced a position."""
        for partition in range(PARTITIONS):
            largest: dict[str, int] = {}
            for _, order in valid_orders(self.messages, partition):
                largest[order.order_id] = max(parse(order.quantity), largest.get(order.order_id, 0))
            executions: Counter[str] = Counter()
            for fill, before, after in self._fills(partition):
                name = fill.order_id
                if name is None:
                    continue
                executions[name] += 1
                self._expect(name in largest, f"{name} executed and never was a valid order")
                self._expect(parse(fill.quantity) <= largest.get(name, 0), f"{name} executed more than it says")
                self._expect(before * after >= 0 and abs(after) < abs(before), f"{name} turned {before} into {after}")
            twice = [name for name, count in executions.items() if count > 1]
            self._expect(not twice, f"orders that executed more than once: {twice[:5]}")
            self.figures["executed"] += len(executions)
        executed = self.recorded.executed
        self._expect(len(set(executed)) == len(executed), "the matching engine executed an order id twice")

    def _fills(self, partition: int) -> Iterator[tuple[Fill, int, int]]:
        """Each fill once, with the position before and after it."""
        held: dict[Key, int] = defaultdict(int)
        seen: set[str] = set()
        for _, message in self.messages.read("fills", partition, 0, 1 << 60):
            if isinstance(message, Fill) and message.fill_id not in seen:
                seen.add(message.fill_id)
                key = (message.account, message.bucket or "main", message.instrument)
                before = held[key]
                held[key] += parse(message.quantity) * (1 if message.side == "buy" else -1)
                yield message, before, held[key]

    # -- the journal ---------------------------------------------------------------------------------------------------

    def check_journal(self) -> None:
        """What the workers were given, computed again, gives what they wrote and what they stored.

        A process that was killed may take the journal of its last decisions with it: an order of which that happened is proved
        from its evidence by the reference, and counted.
        """
        rows = self.recorded.rows
        digests = {shard: rows_digest(held.items()) for shard, held in rows.items()}
        try:
            recomputed = Recomputed(self.topics.all(), load_presets(), wanted=digests.items())
            effects = sum(1 for _ in recomputed.run())
        except JournalError as error:
            self.found.append(f"journal: {error}")
            return
        self.figures["sessions"], self.figures["effects"] = len(recomputed.sessions), effects
        for shard, digest in digests.items():
            held = recomputed.versions.find(shard, digest)
            self._expect(held == dict(rows[shard]), f"no session stored what the table of shard {shard} holds")
        for record in recomputed.not_decided():
            self._explain(record)

    def _explain(self, record: Record) -> None:
        killed = self.recorded.killed
        place = f"{record.topic}[{record.partition}]@{record.offset}"
        message = decode(record.topic, record.value)
        if not isinstance(message, Order):
            near = [at for at in killed.values() if at - LAST_GASP_MS <= record.timestamp_ms <= at + LAST_GASP_MS]
            self._expect(bool(near), f"{place} was decided by no session, and no worker had been killed")
            self.figures["states_of_the_killed"] += 1
            return
        instance = self._owner(record.partition, message.epoch)
        if instance not in killed or not self._outlived_journal(record, instance):
            self.found.append(f"{place} was decided by no session of {instance}, which kept its journal")
            return
        self._follows(message, place)
        self.figures["proved_from_evidence"] += 1

    def check_by_reference(self) -> None:
        """Some orders of each partition, computed again by the reference from what they say that they rest on."""
        for partition in range(PARTITIONS):
            orders = [order for _, order in valid_orders(self.messages, partition)]
            for order in orders[:: max(1, len(orders) // REFERENCED)]:
                self._follows(order, f"order {order.order_id}")
                self.figures["proved_by_reference"] += 1

    def _follows(self, order: Order, place: str) -> None:
        checked = check(order, self.topics.all(), Settings(), load_presets())
        why = checked.missing or checked.detail or checked.differences
        self._expect(checked.verified, f"{place} does not follow from its evidence: {why}")

    def _owner(self, partition: int, epoch: int) -> str:
        claim = decode(ORDERS, self.topics.log(ORDERS, partition)[epoch].value)
        return claim.instance if isinstance(claim, Claim) else "nobody"

    def _outlived_journal(self, record: Record, instance: str) -> bool:
        """Whether the broker had the record when it had the last of the session's journal already."""
        last = 0
        for partition in range(PARTITIONS):
            for entry in self.topics.log(JOURNAL, partition):
                if decode_journal(entry.value).session.startswith(f"{instance}:"):
                    last = max(last, entry.timestamp_ms)
        return record.timestamp_ms >= last

    # -- findings ------------------------------------------------------------------------------------------------------

    def _expect(self, holds: bool, text: str) -> None:
        if not holds:
            self.found.append(text)

    def _try(self, judge: Callable[[], object]) -> None:
        try:
            judge()
        except Violation as violation:
            self.found.append(str(violation))
