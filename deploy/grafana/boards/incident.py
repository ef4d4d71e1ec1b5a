"""Incident: what happened when, on one time axis."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.boards.panels import JOB, View, Words, quantiles
from deploy.grafana.boards.panels import board as make

FIRST = """\
1. **Harm**: the first row of [Overview](d/ringfence-overview). Is a bucket below zero, or late?
2. **Evidence of malfunction, or doubt about the input?** Halt what is doubtful, and nothing more: [how](${runbook}#halt-and-resume).
3. **Fresh?** A dead feed, a lagging topic or a shut gate explains most of what is late.
4. **What changed?** Blue marks are starts of workers, red ones halts.
5. **The alert's own entry** in the runbook: first look, actions, how to verify, how to undo.
6. **Keep what was read**: the journal and the topics replay to the same decisions.
"""

TIMELINE = (
    Words("First", FIRST),
    View(title="Alerts over time", kind="states", width=24, red=1,
         asks=[('max by (alertname) (ALERTS{alertname=~"Ringfence.*", alertstate="firing"})', "{{alertname}}")], says="Firing. The watchdog always is."),
    View(title="Harm", width=12, red=1, alert="RingfenceBucketNegative",
         asks=[(f"sum(ringfence_negative_buckets{{{JOB}}})", "below zero"), (f"sum(ringfence_unordered_buckets{{{JOB}}})", "under maintenance, no order"),
               (f"sum(ringfence_unanswered_buckets{{{JOB}}})", "orders unanswered")],
         says="Buckets."),
    View(title="Distressed buckets", width=12,
         asks=[(f'sum by (status) (ringfence_buckets{{{JOB}, status=~"liquidating|bankrupt|reduce_only|margin_call|dirty|incomplete"}})', "{{status}}")],
         says="By status. Empty when healthy."),
)  # fmt: skip

DECISIONS = (
    View(title="Orders by trigger", unit="ops",
         asks=[(f"sum by (trigger) (rate(ringfence_orders_total{{{JOB}}}[$__rate_interval]))", "{{trigger}}")], says="Why they were decided."),
    View(title="Orders by stage", unit="ops",
         asks=[(f"sum by (stage) (rate(ringfence_orders_total{{{JOB}}}[$__rate_interval]))", "{{stage}}")],
         says="`takeover` and `adl`: equity is gone, or ordinary orders had their chances."),
    View(title="From cause to decision", unit="s", asks=quantiles("ringfence_order_decision_seconds"), says="Before an order exists."),
    View(title="Held back by caps", alert="RingfenceOrdersThrottled",
         asks=[(f"sum(ringfence_orders_held{{{JOB}}})", "orders"), (f"max(ringfence_order_queue_age_seconds{{{JOB}}})", "oldest, seconds")],
         says="The worst buckets go first."),
    View(title="Oldest order without a final answer", unit="s", red=5, alert="RingfenceOrdersUnanswered",
         asks=[(f"max(ringfence_unanswered_oldest_seconds{{{JOB}}})", "")], says="The venue's side."),
    View(title="Void orders", unit="ops",
         asks=[(f"sum(rate(ringfence_void_orders_total{{{JOB}}}[$__rate_interval]))", "")],
         says="Read back under an epoch that is no longer valid: the decision is made again."),
)  # fmt: skip

GUARDS = (
    View(title="Alarms", unit="ops", width=12, alert="RingfenceLedgerDoubtful",
         asks=[(f"sum by (name) (rate(ringfence_alarms_total{{{JOB}}}[$__rate_interval]))", "{{name}}")], says="Guards that spoke."),
    View(title="Refused records", unit="ops", width=12, alert="RingfenceRecordsRefused",
         asks=[(f"sum by (reason) (rate(ringfence_refused_records_total{{{JOB}}}[$__rate_interval]))", "{{reason}}")], says="They lie in `dead-letters`."),
    View(title="Halts", width=8, red=1, alert="RingfenceHalted", asks=[(f"max by (scope) (ringfence_halts{{{JOB}}})", "{{scope}}")], says="In force, by scope."),
    View(title="Repeated records", unit="ops", width=8,
         asks=[(f"sum(rate(ringfence_duplicate_records_total{{{JOB}}}[$__rate_interval]))", "")], says="Skipped as seen before."),
    View(title="Partitions without an owner", width=8, red=1, alert="RingfencePartitionUnowned",
         asks=[(f"max(ringfence_account_partitions{{{JOB}}}) - count(max by (partition) (ringfence_gate_open{{{JOB}}}))", "")],
         says="During a handover, seconds."),
)  # fmt: skip


def board() -> dashboard.Dashboard:
    """Looked at while it happens, and again afterwards."""
    rows = [("What happened", TIMELINE), ("What was decided", DECISIONS), ("What spoke against it", GUARDS)]
    return make("ringfence-incident", "Ringfence / Incident", "What happened when, on one time axis.", rows).build()
