"""Overview: is anyone being harmed, is it fresh, does it keep up."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.boards.panels import HEALTHY, JOB, View, quantiles
from deploy.grafana.boards.panels import board as make

HARM = (
    View(title="Buckets below zero", kind="number", width=4, red=1, alert="RingfenceBucketNegative",
         asks=[(f"sum(ringfence_negative_buckets{{{JOB}}})", "")], says="Somebody else has to pay what these are missing."),
    View(title="Missing now", kind="number", width=4, red=1e-9, alert="RingfenceBucketNegative",
         asks=[(f"sum by (asset) (ringfence_negative_equity{{{JOB}}})", "{{asset}}")],
         says=f"By valuation asset. {HEALTHY}"),
    View(title="Deficits fixed", kind="number", width=4, red=1e-9, alert="RingfenceDeficit",
         asks=[(f"sum by (asset) (ringfence_deficit_total{{{JOB}}})", "{{asset}}")],
         says=f"At takeovers, since the workers started. {HEALTHY}"),
    View(title="Under maintenance, no order", kind="number", width=4, orange=1, red=10, alert="RingfenceBucketUnordered",
         asks=[(f"sum(ringfence_unordered_buckets{{{JOB}}})", "")], says="Buckets that are liquidatable and have no order out."),
    View(title="... for how long", kind="number", width=4, unit="s", orange=1, red=5, alert="RingfenceBucketUnordered",
         asks=[(f"max(ringfence_unordered_oldest_seconds{{{JOB}}})", "")], says="Of the one that has waited longest."),
    View(title="Orders unanswered", kind="number", width=4, red=1, alert="RingfenceOrdersUnanswered",
         asks=[(f"sum(ringfence_unanswered_buckets{{{JOB}}})", "")], says="Buckets whose order is past its validity without an answer."),
    View(title="Firing alerts", kind="table", width=24, asks=[('ALERTS{alertname=~"Ringfence.*", alertstate="firing"}', "")],
         says="RingfenceWatchdog always fires: without it, the alerting itself is dead."),
)  # fmt: skip

FRESH = (
    View(title="Age of the oldest marks", unit="s", red=2, alert="RingfenceMarkStale",
         asks=[(f"topk(5, max by (instrument) (ringfence_mark_age_seconds{{{JOB}}}))", "{{instrument}}")],
         says="By the source's time, of marks that positions depend on."),
    View(title="Marks that are not valid", red=1, alert="RingfenceMarkStale",
         asks=[(f'max by (grade) (ringfence_marks{{{JOB}, grade!="valid"}})', "{{grade}}")],
         says="Stale, unconfirmed or halted: believed within an interval only, and not closed."),
    View(title="Buckets that nobody can decide on", red=1, alert="RingfenceBucketsUnchecked",
         asks=[(f"sum by (reason) (ringfence_unchecked_buckets{{{JOB}}})", "{{reason}}")],
         says="Their ledger is doubtful, a price is missing, or their account is unknown."),
    View(title="Time since the newest price", unit="s", red=10, alert="RingfencePricesSilent",
         asks=[(f"ringfence_price_silence_seconds{{{JOB}}}", "{{instance}}")], says="By worker. The feed, or its reading, stopped."),
    View(title="Account records wait", unit="s", red=0.2, alert="RingfenceAccountLag",
         asks=[(f"max by (topic) (ringfence_lag_seconds{{{JOB}}})", "{{topic}}")],
         says="Beyond 0.2 s (`max_account_lag_ms`) the shard's gate shuts."),
    View(title="Time since the last completed pass", unit="s", red=1, alert="RingfenceLoopStalled",
         asks=[(f"ringfence_pass_age_seconds{{{JOB}}}", "{{instance}}")], says="Of the timers, ten times a second. A gap: the worker did not answer."),
)  # fmt: skip

PACE = (
    View(title="Shards that may decide", kind="number", width=6, alert="RingfenceShardUndecided",
         asks=[(f"sum(max by (partition) (ringfence_gate_open{{{JOB}}}))", "deciding"),
               (f"max(ringfence_account_partitions{{{JOB}}})", "partitions")],
         says="Both numbers must be equal: every partition has one owner, whose gate is open."),
    View(title="Workers that answer", kind="number", width=6, low_is_bad=True, red=1, alert="RingfenceNoWorker",
         asks=[(f"sum(up{{{JOB}}})", "")], says="Scraped by Prometheus."),
    View(title="Marks evaluated late", kind="number", width=6, unit="percentunit", orange=0.001, red=0.0144, alert="RingfenceMarksLateFast",
         asks=[("ringfence:marks_late:ratio_rate5m", "5 minutes"), ("ringfence:marks_late:ratio_rate1h", "1 hour")],
         says="Share later than 100 ms after the broker had them; the objective is 0.1 %."),
    View(title="Orders acknowledged late", kind="number", width=6, unit="percentunit", orange=0.001, red=0.0144, alert="RingfenceOrdersLateFast",
         asks=[("ringfence:orders_late:ratio_rate5m", "5 minutes"), ("ringfence:orders_late:ratio_rate1h", "1 hour")],
         says="Share later than 250 ms after the broker had the causing record, or never; the objective is 0.1 %."),
    View(title="From mark to evaluation", unit="s", red=0.1, alert="RingfenceMarksLateFast",
         asks=quantiles("ringfence_mark_evaluation_seconds"), says="Broker time of a price record to the end of the pass that evaluated it."),
    View(title="From cause to acknowledged order", unit="s", red=0.25, alert="RingfenceOrdersLateFast",
         asks=quantiles("ringfence_order_ack_seconds"), says="Broker time of the causing record to the acknowledgement."),
    View(title="Orders", unit="ops",
         asks=[(f"sum by (stage) (rate(ringfence_orders_total{{{JOB}}}[$__rate_interval]))", "{{stage}}")], says="Decided a second, by stage."),
    View(title="Buckets by status", width=12, asks=[(f"sum by (status) (ringfence_buckets{{{JOB}}})", "{{status}}")],
         says="Closed ones are not counted."),
    View(title="Records folded", unit="ops", width=12,
         asks=[(f"sum by (topic) (rate(ringfence_records_total{{{JOB}}}[$__rate_interval]))", "{{topic}}")], says="By topic."),
)  # fmt: skip


def board() -> dashboard.Dashboard:
    """The board that somebody who is paged opens first."""
    rows = [("Is anyone being harmed?", HARM), ("Is it fresh?", FRESH), ("Does it keep up?", PACE)]
    return make(
        "ringfence-overview", "Ringfence / Overview", "Is anyone being harmed, is it fresh, does it keep up.", rows
    ).build()
