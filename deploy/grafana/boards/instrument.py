"""Instrument: one market's marks, and who depends on them."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.boards.panels import HEALTHY, JOB, View, values_of
from deploy.grafana.boards.panels import board as make

CHOSEN = f'{JOB}, instrument=~"$instrument"'
MARKET = 'instrument=~"$instrument"'
TESTED = "ringfence_risk_backtest"
NO_RISK = "Empty where `ringfence risk` is not scraped."

MARKS = (
    View(title="Age of the mark", unit="s", width=12, red=2, alert="RingfenceMarkStale",
         asks=[(f"max by (instrument) (ringfence_mark_age_seconds{{{CHOSEN}}})", "{{instrument}}")],
         says="By the source's time, on the worker that has the oldest."),
    View(title="Workers disagree by", unit="s", width=12, orange=0.5,
         asks=[(f"max by (instrument) (ringfence_mark_age_seconds{{{CHOSEN}}}) - min by (instrument) (ringfence_mark_age_seconds{{{CHOSEN}}})",
                "{{instrument}}")],
         says="Every worker reads every price: a lasting difference is one worker's reading."),
    View(title="Grade", kind="states", width=24, red=1, alert="RingfenceMarkUnconfirmed",
         asks=[(f"max by (instrument, grade) (ringfence_mark_grade{{{CHOSEN}}})", "{{instrument}} {{grade}}")],
         says="1 while the mark has the grade. Only `valid` ones are closed; the others are intervals."),
    View(title="Buckets on a doubtful mark", width=12, red=1, alert="RingfenceMarkStale",
         asks=[(f"sum by (instrument, grade) (ringfence_doubtful_mark_buckets{{{CHOSEN}}})", "{{instrument}} {{grade}}")],
         says=f"Who is shielded, or exposed, by the doubt. {HEALTHY}"),
    View(title="Prices out of order", unit="ops", width=12,
         asks=[(f"sum by (instance) (rate(ringfence_skipped_prices_total{{{JOB}}}[$__rate_interval]))", "{{instance}}")],
         says="Older than the one in use, of all instruments."),
)  # fmt: skip

RISK = (
    View(title="Margin multiplier", width=8,
         asks=[('max by (instrument) (ringfence_risk_multiplier{instrument=~"$instrument"})', "{{instrument}}")],
         says=f"As last published. {NO_RISK}"),
    View(title="Volatility, a square root of a second", unit="percentunit", width=8,
         asks=[('sqrt(max by (instrument) (ringfence_risk_variance{instrument=~"$instrument"}))', "{{instrument}}")],
         says=f"What the multiplier follows. {NO_RISK}"),
    View(title="Made liquidatable by a step", width=8, alert="RingfenceBucketUnordered",
         asks=[(f"sum by (instrument) (ringfence_newly_liquidatable_notional_total{{{CHOSEN}}})", "{{instrument}}")],
         says=f"Notional in the settlement asset, since the workers started. {HEALTHY}"),
    View(title="Will be, when announced rises take effect", width=12, alert="RingfenceBucketUnordered",
         asks=[(f"sum by (instrument) (ringfence_coming_liquidatable_notional{{{CHOSEN}}})", "{{instrument}}"),
               (f"sum by (instrument) (ringfence_coming_unchecked_buckets{{{CHOSEN}}})", "{{instrument}} buckets not counted")],
         says="Notional in the settlement asset, of multipliers that were published and do not hold yet. Empty when none is announced."),
    View(title="Moves beyond the margin", width=12, unit="percentunit", red=0.01,
         asks=[(f"max by (instrument) ({TESTED}_breaches{{{MARKET}}}) / max by (instrument) ({TESTED}_observations{{{MARKET}}})",
                "{{instrument}}")],
         says=f"Share of the close-out windows since the publisher's term began. {NO_RISK}"),
    View(title="Publishers elected", width=24, low_is_bad=True, red=1, asks=[("sum(ringfence_risk_elected)", "")],
         says=f"One, or multipliers stand still. {NO_RISK}"),
)  # fmt: skip


def board() -> dashboard.Dashboard:
    """Asked when a feed is in doubt."""
    made = make("ringfence-instrument", "Ringfence / Instrument", "One market's marks, and who depends on them.",
                [("Marks", MARKS), ("Requirements", RISK)])  # fmt: skip
    return made.with_variable(values_of("instrument", f"ringfence_mark_age_seconds{{{JOB}}}", "Instrument")).build()
