"""Worker: one process, its shards and what it uses."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.boards.panels import HEALTHY, JOB, View, quantiles, values_of
from deploy.grafana.boards.panels import board as make

CHOSEN = f'{JOB}, instance=~"$instance"'

SHARDS = (
    View(title="What runs", kind="table", width=8,
         asks=[(f"ringfence_build_info{{{CHOSEN}}}", "")], says="Version and Python of each worker."),
    View(title="Up since", kind="number", width=8, unit="s",
         asks=[(f"time() - process_start_time_seconds{{{CHOSEN}}}", "{{instance}}")], says="A short time: it was restarted."),
    View(title="Shards that may decide", kind="number", width=8,
         asks=[(f"sum by (instance) (ringfence_gate_open{{{CHOSEN}}})", "{{instance}}")], says="Of those that the group gave to it."),
    View(title="Gates", kind="states", width=12, low_is_bad=True, red=1, alert="RingfenceShardUndecided",
         asks=[(f"ringfence_gate_open{{{CHOSEN}}}", "{{instance}} {{partition}}")], says="1 while the shard may decide."),
    View(title="Why a gate is shut", kind="states", width=12, red=1, alert="RingfenceShardUndecided",
         asks=[(f"ringfence_gate_shut_reason{{{CHOSEN}}}", "{{instance}} {{partition}} {{reason}}")],
         says=f"`claim`, `recovering` and `loop_gap` pass by themselves; `refused` and `malfunction` wait for a person. {HEALTHY}"),
    View(title="Account records unread", alert="RingfenceAccountLag",
         asks=[(f"sum by (instance, topic) (ringfence_lag_records{{{CHOSEN}}})", "{{instance}} {{topic}}")], says="As of the broker's last word."),
    View(title="Broadcast records unread", alert="RingfenceBroadcastLag",
         asks=[(f"ringfence_broadcast_lag_records{{{CHOSEN}}}", "{{instance}} {{topic}}")], says="Of topics that every worker reads."),
    View(title="Broadcast records wait", unit="s", red=2, alert="RingfenceBroadcastLag",
         asks=[(f"ringfence_broadcast_lag_seconds{{{CHOSEN}}}", "{{instance}} {{topic}}")], says="Age of the newest that was folded, while others wait."),
    View(title="Epochs", width=24, asks=[(f"ringfence_claim_epoch{{{CHOSEN}}}", "{{instance}} {{partition}}")],
         says="The offset of our newest claim; a step each minute, or when the shard changed hands."),
)  # fmt: skip

STORES = (
    View(title="Not stored for", unit="s", red=5, alert="RingfenceStoreDelayed",
         asks=[(f"max by (instance) (ringfence_flush_lag_seconds{{{CHOSEN}}})", "{{instance}}")], says="While there is news; the worst shard."),
    View(title="Duration of a store", unit="s", asks=quantiles("ringfence_flush_seconds", CHOSEN), says="One call to Redis, all rows of a shard."),
    View(title="Rows", unit="short",
         asks=[(f"sum by (instance) (ringfence_dirty_rows{{{CHOSEN}}})", "{{instance}} wait"),
               (f"sum by (instance) (rate(ringfence_flushed_rows_total{{{CHOSEN}}}[$__rate_interval]))", "{{instance}} stored a second")],
         says="Changed and not stored; stored a second."),
    View(title="Outbox", red=1000, alert="RingfenceOutboxGrows",
         asks=[(f"ringfence_outbox_records{{{CHOSEN}}}", "{{instance}}")], says="Queued, or sent and not acknowledged."),
    View(title="Orders not read back",
         asks=[(f"sum by (instance) (ringfence_orders_outstanding{{{CHOSEN}}})", "{{instance}}")], says="An order is issued once it was read back."),
    View(title="What should be rare", unit="ops", alert="RingfenceSendsUnknown",
         asks=[(f"sum by (instance, event) (rate(ringfence_worker_events_total{{{CHOSEN}}}[$__rate_interval]))", "{{instance}} {{event}}")],
         says="Holes, reloads, a store that does not answer, sends of unknown fate."),
)  # fmt: skip

PROCESS = (
    View(title="Share of a processor", unit="percentunit", red=0.8, alert="RingfenceMarksLateFast",
         asks=[(f"rate(process_cpu_seconds_total{{{CHOSEN}}}[$__rate_interval])", "{{instance}}")], says="One thread decides: near 1 it is full."),
    View(title="Memory", unit="bytes", alert="RingfenceMemoryNearLimit",
         asks=[(f"process_resident_memory_bytes{{{CHOSEN}}}", "{{instance}}")], says="In use."),
    View(title="Share of the memory limit", unit="percentunit", red=0.9, alert="RingfenceMemoryNearLimit",
         asks=[(f"process_resident_memory_bytes{{{CHOSEN}}} / on (job, instance) ringfence_memory_limit_bytes", "{{instance}}")],
         says="Empty where no limit is set."),
    View(title="Lateness of the loop", unit="s", red=0.1, asks=quantiles("ringfence_loop_delay_seconds", CHOSEN),
         says="How much later than due the loop came round, twenty times a second."),
    View(title="Stood still", unit="ops", alert="RingfenceLoopStalled",
         asks=[(f"rate(ringfence_loop_gap_seconds_count{{{CHOSEN}}}[$__rate_interval])", "{{instance}}")], says="For over half a second."),
    View(title="From arrival to the last effect", unit="s", asks=quantiles("ringfence_decision_seconds", CHOSEN), says="Our own share of the latency."),
    View(title="Open files", asks=[(f"process_open_fds{{{CHOSEN}}}", "{{instance}}")], says="Connections among them.", width=24),
)  # fmt: skip


def board() -> dashboard.Dashboard:
    """Asked when one process is suspected."""
    made = make("ringfence-worker", "Ringfence / Worker", "One process, its shards and what it uses.",
                [("Shards", SHARDS), ("Stores and orders under way", STORES), ("Process", PROCESS)])  # fmt: skip
    return made.with_variable(values_of("instance", f"up{{{JOB}}}", "Worker")).build()
