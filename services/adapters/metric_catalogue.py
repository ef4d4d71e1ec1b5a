"""Every metric, in one place: what it is called, what its labels can be, and what harm it shows. Code, page and tests follow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal, get_args

from services.contracts.messages import Stage, Status, Trigger
from services.contracts.refusals import Reason
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS
from services.engine.effects import AlarmName

PREFIX: Final = "ringfence_"
Kind = Literal["counter", "gauge", "histogram", "info"]
MOST_INSTRUMENTS: Final = 500  # series by instrument; counts over all of them have no such bound

GRADES: Final = ("valid", "stale", "unconfirmed", "halted")
WORKER_ALARMS: Final = (
    "record_refused",
    "shard_refused",
    "orders_throttled",
    "order_exceeds_position",
    "order_not_justified",
    "attempts_without_effect",
    "certificate_violated",
    "reference_differs",
    "clock_stepped",
    "restored_from_snapshot",
)  # beside those of the engine
WORKER_EVENTS: Final = (
    "hole",
    "shard_reloaded",
    "store_unreachable",
    "send_unknown",
    "order_held",
    "malfunction",
    "malfunction_cleared",
    "table_damaged",
    "snapshot_written",
    "snapshot_failed",
    "taken_over",
    "event_forced",
)
PASS_TIMES: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Label -> its values where they are all known, else what bounds them.
BOUNDS: Final[Mapping[str, Sequence[str] | str]] = {
    "topic": (*ACCOUNT_TOPICS, *BROADCAST_TOPICS),
    "trigger": get_args(Trigger),
    "stage": get_args(Stage),
    "status": tuple(status for status in get_args(Status) if status != "closed"),
    "grade": GRADES,
    "name": (*(str(name) for name in AlarmName), *WORKER_ALARMS),
    "event": WORKER_EVENTS,
    "scope": ("all", "instrument", "account"),
    "partition": "account partitions of this worker",
    "instrument": f"price ids that positions depend on, at most {MOST_INSTRUMENTS}",
    "asset": "valuation assets",
    "version": "one",
    "python": "one",
}
# Of metrics whose label of the same name means something else.
OWN_BOUNDS: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("refused_records", "reason"): tuple(str(reason) for reason in Reason),
    ("unchecked_buckets", "reason"): ("dirty", "incomplete", "unknown"),
    ("gate_shut_reason", "reason"): (
        "recovering", "claim", "fenced", "account_lag", "loop_gap", "store_behind", "clock", "revoked", "malfunction", "refused",
        "standby",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One metric. `name` is without prefix and `_total`; `shows` says what harm, or which step towards it, a reader sees in it."""

    section: str
    name: str
    kind: Kind
    text: str
    shows: str
    labels: Sequence[str] = ()
    unit: str = ""
    times: Sequence[float] = field(default=PASS_TIMES, repr=False)

    @property
    def exposed(self) -> str:
        """The name that queries use; of a histogram without `_bucket`, `_sum` and `_count`."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"

    def values_of(self, label: str) -> Sequence[str] | str:
        """All values of a label, or what bounds them."""
        return OWN_BOUNDS.get((self.name, label)) or BOUNDS[label]

    def combinations(self) -> Iterable[tuple[str, ...]]:
        """Every combination of label values where all are known: such series exist from the start, so that a first event is an increase."""
        values = [self.values_of(label) for label in self.labels]
        known = [each for each in values if not isinstance(each, str)]
        return product(*known) if len(known) == len(values) else ()


HARM: Final = "Harm"
FRESHNESS: Final = "Freshness"
DECISIONS: Final = "Decisions"
RESOURCES: Final = "Resources"
RISK: Final = "Risk parameters (`ringfence risk`)"

CATALOGUE: Final[tuple[Entry, ...]] = (
    Entry(HARM, "negative_buckets", "gauge", "Buckets whose equity is below zero now", "Segregation is broken: somebody else has to pay"),
    Entry(HARM, "negative_equity", "gauge", "What the buckets below zero are short of now", "The size of that loss", ("asset",), "valuation asset"),
    Entry(HARM, "deficit", "counter", "Deficits fixed at takeovers, the records of `defaults`", "What insurance or deleveraging has to pay", ("asset",), "valuation asset"),
    Entry(HARM, "unordered_buckets", "gauge", "Buckets under maintenance margin without an order out", "They lose the time in which a close still pays for itself"),
    Entry(HARM, "unordered_oldest_seconds", "gauge", "How long the first of them has been so, in event time", "How late the monitor is with somebody's money", unit="seconds"),
    Entry(HARM, "unanswered_buckets", "gauge", "Buckets whose order is past its validity without an answer", "The venue does not close what it was told to close"),
    Entry(HARM, "unanswered_oldest_seconds", "gauge", "How long the oldest order without a final answer has been out", "The same, as time", unit="seconds"),
    Entry(HARM, "buckets", "gauge", "Buckets by status; closed ones are not counted", "How many are on their way to liquidation", ("status",)),
    Entry(HARM, "newly_liquidatable_notional", "counter", "Notional that steps of the multiplier made liquidatable, in the settlement asset", "Liquidations that our own parameters caused", ("instrument",), "settlement asset"),
    Entry(HARM, "coming_liquidatable_notional", "gauge", "Notional that published rises of the multiplier will make liquidatable when they take effect, in the settlement asset", "The same, while there is time to act", ("instrument",), "settlement asset"),
    Entry(HARM, "coming_unchecked_buckets", "gauge", "Buckets not yet looked at for that figure", "How much of it is still missing", ("instrument",)),

    Entry(FRESHNESS, "mark_age_seconds", "gauge", "Age of each mark by its source's time", "Old marks hide losses", ("instrument",), "seconds"),
    Entry(FRESHNESS, "mark_grade", "gauge", "1 for the grade of each mark now", "What is not valid is neither closed nor fully believed", ("instrument", "grade")),
    Entry(FRESHNESS, "marks", "gauge", "Marks by grade", "The same over all instruments", ("grade",)),
    Entry(FRESHNESS, "doubtful_mark_buckets", "gauge", "Buckets that depend on a mark that is not valid", "Who is shielded or exposed by a doubtful feed", ("instrument", "grade")),
    Entry(FRESHNESS, "price_silence_seconds", "gauge", "Time since the newest price record was written", "No feed at all: nothing is decided any more", unit="seconds"),
    Entry(FRESHNESS, "lag_records", "gauge", "Account records not folded yet", "Decisions would rest on an old ledger", ("topic", "partition"), "records"),
    Entry(FRESHNESS, "lag_seconds", "gauge", "How long the oldest unread account record waits, or the broker is silent", "The same, as time; it shuts the gate", ("topic", "partition"), "seconds"),
    Entry(FRESHNESS, "broadcast_lag_records", "gauge", "Broadcast records not folded yet", "Marks and limits in use are not the newest", ("topic",), "records"),
    Entry(FRESHNESS, "broadcast_lag_seconds", "gauge", "Age of the newest folded broadcast record while others wait", "The same, as time", ("topic",), "seconds"),
    Entry(FRESHNESS, "pass_age_seconds", "gauge", "Time since the last completed pass", "A monitor that stands still protects nobody", unit="seconds"),
    Entry(FRESHNESS, "unchecked_buckets", "gauge", "Buckets with holdings that cannot be decided on", "Nobody watches them: doubtful ledger, no price, or no account record", ("reason",)),
    Entry(FRESHNESS, "mark_evaluation_seconds", "histogram", "From the broker's time of a price record to the end of the pass that evaluated it, each record counted", "Objective: 99.9 % within 0.1 s", unit="seconds"),

    Entry(DECISIONS, "orders", "counter", "Liquidation orders decided", "What the monitor did, and why", ("trigger", "stage")),
    Entry(DECISIONS, "order_decision_seconds", "histogram", "From the broker's time of the causing record to the decision", "Time lost before an order exists", unit="seconds"),
    Entry(DECISIONS, "order_ack_seconds", "histogram", "From the broker's time of the causing record to the order's acknowledgement", "Objective: 99.9 % within 0.25 s; what a timer or an opening gate made due is counted from then", unit="seconds"),
    Entry(DECISIONS, "decision_seconds", "histogram", "From the arrival of a batch to its last effect being queued", "Our own share of the latency", unit="seconds"),
    Entry(DECISIONS, "orders_outstanding", "gauge", "Orders sent and not read back", "An order is issued only once it was read back", ("partition",)),
    Entry(DECISIONS, "orders_held", "gauge", "Orders that a cap holds back", "Buckets that wait for their close, the worst first", ("partition",)),
    Entry(DECISIONS, "order_queue_age_seconds", "gauge", "How long the oldest order that a cap holds back has been waiting", "The caps are too tight for what happens", ("partition",), "seconds"),
    Entry(DECISIONS, "void_orders", "counter", "Orders read back that do not count", "Another owner, or an answer lost: the decision is made again"),
    Entry(DECISIONS, "gate_open", "gauge", "1 while the shard may decide", "0: its buckets are folded but not protected", ("partition",)),
    Entry(DECISIONS, "gate_shut_reason", "gauge", "1 while this reason keeps the gate shut", "Why not", ("partition", "reason")),
    Entry(DECISIONS, "account_partitions", "gauge", "Account partitions that exist; each needs one owner", "A partition that nobody owns is not watched"),
    Entry(DECISIONS, "claim_epoch", "gauge", "Our epoch: the offset of our newest claim", "Who owns the shard by the log", ("partition",)),
    Entry(DECISIONS, "halts", "gauge", "Halts of an operator in force", "Nothing of that scope is liquidated", ("scope",)),
    Entry(DECISIONS, "alarms", "counter", "Alarms by name", "Guards that spoke: see the runbook", ("name",)),
    Entry(DECISIONS, "worker_events", "counter", "What should be rare: holes, reloads, a store that does not answer, unknown sends, orders held back, malfunctions", "Each costs time; all but a malfunction are repaired by themselves", ("event",)),
    Entry(DECISIONS, "records", "counter", "Records folded", "Whether anything arrives", ("topic",), "records"),
    Entry(DECISIONS, "refused_records", "counter", "Records refused, sent whole to dead-letters", "Facts that the ledger lacks", ("reason",), "records"),
    Entry(DECISIONS, "duplicate_records", "counter", "Records skipped as seen before", "A producer that repeats itself", (), "records"),
    Entry(DECISIONS, "skipped_prices", "counter", "Prices older than the one in use", "A source out of order", (), "records"),

    Entry(RESOURCES, "flush_lag_seconds", "gauge", "Time since the shard was last stored, while it has news", "How much a restart has to read again", ("partition",), "seconds"),
    Entry(RESOURCES, "flush_seconds", "histogram", "Duration of storing a shard", "Redis is slow", unit="seconds"),
    Entry(RESOURCES, "flushed_rows", "counter", "Rows stored", "Write load on Redis", ("partition",), "rows"),
    Entry(RESOURCES, "dirty_rows", "gauge", "Rows changed and not stored", "What the next store has to write", ("partition",), "rows"),
    Entry(RESOURCES, "outbox_records", "gauge", "Records queued or sent and not acknowledged", "The broker does not keep up with what we write", unit="records"),
    Entry(RESOURCES, "loop_gap_seconds", "histogram", "Pauses of the process that made it read the orders again", "While it stood still it protected nobody", unit="seconds"),
    Entry(RESOURCES, "loop_delay_seconds", "histogram", "How much later than due the loop came round", "The thread is too busy", unit="seconds"),
    Entry(RESOURCES, "memory_limit_bytes", "gauge", "Memory that the process may use, where a limit is set", "Beyond it the process is killed", unit="bytes"),
    Entry(RESOURCES, "build_info", "info", "1, with what runs", "What was deployed", ("version", "python")),

    Entry(RISK, "risk_elected", "gauge", "1 while this process publishes", "Nobody elected: multipliers stand still"),
    Entry(RISK, "risk_multiplier", "gauge", "Margin multiplier as last published", "What accounts have to hold", ("instrument",)),
    Entry(RISK, "risk_variance", "gauge", "EWMA variance of log returns per second", "The volatility behind it", ("instrument",)),
    Entry(RISK, "risk_backtest_observations", "gauge", "Close-out windows since the term began", "How much the back-test rests on", ("instrument",)),
    Entry(RISK, "risk_backtest_breaches", "gauge", "Windows whose move exceeded the margin", "Margin that was too small", ("instrument",)),
)  # fmt: skip

BY_NAME: Final = {entry.name: entry for entry in CATALOGUE}
# Of the process itself, by prometheus-client; where the system tells.
PROCESS: Final[Mapping[str, str]] = {
    "process_resident_memory_bytes": "Memory in use",
    "process_virtual_memory_bytes": "Memory mapped",
    "process_cpu_seconds_total": "Processor time used",
    "process_start_time_seconds": "When the process started, seconds since the epoch",
    "process_open_fds": "Open files and connections",
    "process_max_fds": "How many there may be",
}


def series() -> frozenset[str]:
    """Every name that a query may use."""
    names = {entry.exposed for entry in CATALOGUE if entry.kind != "histogram"} | set(PROCESS)
    for entry in CATALOGUE:
        if entry.kind == "histogram":
            names |= {f"{entry.exposed}{end}" for end in ("_bucket", "_sum", "_count")}
    return frozenset(names)


def page() -> str:
    """The catalogue for readers, as Markdown."""
    lines = [
        "# Metrics", "",
        "Generated by `ringfence config metrics`; the source is `services/adapters/metric_catalogue.py`.",
        "Served at `/metrics`. No label names an account, a client or an order.", "",
    ]  # fmt: skip
    for section in dict.fromkeys(entry.section for entry in CATALOGUE):
        lines += [
            f"## {section}",
            "",
            "| metric | type | labels | unit | what it is | what it shows |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_row(entry) for entry in CATALOGUE if entry.section == section] + [""]
    lines += ["## Process", "", "| metric | what it is |", "| --- | --- |"]
    lines += [f"| `{name}` | {text} |" for name, text in PROCESS.items()] + [""]
    lines += ["## Labels", "", "| metric | label | values |", "| --- | --- | --- |"]
    own = [(f"`{BY_NAME[name].exposed}`", label, values) for (name, label), values in OWN_BOUNDS.items()]
    for name, label, values in [*(("all", label, values) for label, values in BOUNDS.items()), *own]:
        shown = values if isinstance(values, str) else ", ".join(f"`{value}`" for value in values)
        lines.append(f"| {name} | `{label}` | {shown} |")
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> str:
    labels = ", ".join(f"`{label}`" for label in entry.labels)
    return f"| `{entry.exposed}` | {entry.kind} | {labels} | {entry.unit} | {entry.text} | {entry.shows} |"
