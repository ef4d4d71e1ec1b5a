"""How a panel, a row and a dashboard look here: one way for each kind, so that a board is a list of what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dash
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as queries
from grafana_foundation_sdk.models import text as texts

SOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
JOB: Final = 'job=~".*liquidator.*"'
MAY_BE_EMPTY: Final = "Empty "  # how the description of a panel goes on that need not have data
HEALTHY: Final = "Empty when healthy."
Kind = Literal["number", "lines", "table", "states"]
HEIGHTS: Final = {"number": 4, "lines": 8, "table": 8, "states": 8}


@dataclass(frozen=True, kw_only=True)
class View:
    """One panel. `asks` are PromQL and what its series are called; `red` is where it turns red, `alert` whose runbook entry helps."""

    title: str
    asks: Sequence[tuple[str, str]]
    says: str
    kind: Kind = "lines"
    unit: str = "short"
    red: float | None = None
    orange: float | None = None
    low_is_bad: bool = False
    alert: str | None = None
    width: int = 8


@dataclass(frozen=True)
class Words:
    """A panel of text, Markdown."""

    title: str
    content: str
    width: int = 24
    height: int = 8


def board(uid: str, title: str, about: str, rows: Sequence[tuple[str, Sequence[View | Words]]]) -> dash.Dashboard:
    """A dashboard of rows, with what all of them share: data source, links to the others, halts and deploys on the time axis."""
    made = (
        dash.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["ringfence"])
        .timezone("utc")
        .refresh("5s")
        .time("now-30m", "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(dash.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_runbook())
        .annotation(_mark("Halts", f"max by (scope) (ringfence_halts{{{JOB}}}) > 0", "red", "halt: {{scope}}"))
        .annotation(
            _mark("Deploys", f"time() - process_start_time_seconds{{{JOB}}} < 60", "blue", "started: {{instance}}")
        )
        .link(
            dash.DashboardLink("Ringfence").type(dashboard.DashboardLinkType.DASHBOARDS).tags(["ringfence"])
            .keep_time(keep_time=True).include_vars(include_vars=True)
        )
    )  # fmt: skip
    numbers = count(1)  # fixed, so that a link to a panel stays good
    for name, views in rows:
        made.with_row(dash.Row(name).id(next(numbers)))
        for view in views:
            made.with_panel((_panel(view) if isinstance(view, View) else _words(view)).id(next(numbers)))
    return made


def values_of(label: str, metric: str, title: str, *, every: bool = True) -> dash.QueryVariable:
    """A choice among the values of a label."""
    return (
        dash.QueryVariable(label)
        .label(title)
        .datasource(SOURCE)
        .query({"query": f"label_values({metric}, {label})", "refId": label})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(every)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
    )


def quantiles(metric: str, where: str = JOB, by: str = "") -> list[tuple[str, str]]:
    """Median and tails of a histogram of durations."""
    grouped = f"le, {by}" if by else "le"
    return [
        (f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))", name)
        for q, name in ((0.5, "median"), (0.99, "99 %"), (0.999, "99.9 %"))
    ]


def _runbook() -> dash.TextBoxVariable:
    return (
        dash.TextBoxVariable("runbook")
        .label("Runbook at")
        .description("Where deploy/runbook.md is published; panels link to its entries.")
        .default_value("/deploy/runbook.md")
    )


def _mark(name: str, expr: str, color: str, title: str) -> dash.AnnotationQuery:
    return (
        dash.AnnotationQuery()
        .name(name).datasource(SOURCE).enable(enable=True).expr(expr).step("10s").icon_color(color).title_format(title)
    )  # fmt: skip


def _panel(view: View) -> Any:
    made = _of_kind(view)
    made.title(view.title).description(view.says).datasource(SOURCE).unit(view.unit).thresholds(_thresholds(view))
    made.height(HEIGHTS[view.kind]).span(view.width)
    for number, (expr, legend) in enumerate(view.asks):
        query = (
            prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        )
        if view.kind == "table":
            query.instant().format(queries.PromQueryFormat.TABLE)
        made.with_target(query)
    if view.alert is not None:
        link = dash.DashboardLink(f"Runbook: {view.alert}").url(f"${{runbook}}#{view.alert.lower()}")
        made.links([link.target_blank(target_blank=True)])
    return made


def _of_kind(view: View) -> Any:
    if view.kind == "number":
        summary = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
        return (
            stat.Panel().graph_mode(common.BigValueGraphMode.AREA).color_mode(common.BigValueColorMode.BACKGROUND)
            .reduce_options(summary).no_value("0" if view.says.endswith(HEALTHY) else "-")
        )  # fmt: skip
    if view.kind == "table":
        return table.Panel()
    if view.kind == "states":
        return statetimeline.Panel().merge_values(merge_values=True).show_value(common.VisibilityMode.NEVER)
    style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE)
    legend = (
        common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(show_legend=True)
    )
    made = timeseries.Panel().min(0).fill_opacity(10).show_points(common.VisibilityMode.NEVER)
    made.legend(legend.placement(common.LegendPlacement.BOTTOM))
    return made if view.red is None else made.thresholds_style(style)


def _thresholds(view: View) -> dash.ThresholdsConfig:
    good, bad = ("red", "green") if view.low_is_bad else ("green", "red")
    steps = [dashboard.Threshold(value=None, color=good)]
    if view.orange is not None:
        steps.append(dashboard.Threshold(value=view.orange, color="orange"))
    if view.red is not None:
        steps.append(dashboard.Threshold(value=view.red, color=bad))
    return dash.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(words: Words) -> Any:
    return (
        text.Panel().title(words.title).mode(texts.TextMode.MARKDOWN).content(words.content)
        .height(words.height).span(words.width)
    )  # fmt: skip
