"""Panels for our dashboards: a title, a description, a unit, and queries."""

from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

SOURCE: Final = DataSourceRef("prometheus", "${datasource}")
AGENT_NAMES: Final = 'label_values({__name__=~"session_requests_total|fleet_workers"}, agent_name)'
_STAT_HEIGHT: Final = 4
_GRAPH_HEIGHT: Final = 8

Query = tuple[str, str]
"""An expression, and the legend of its series."""

Panel = timeseries.Panel | stat.Panel | bargauge.Panel


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    span: int = 8,
    stacked: bool = False,
    minimum: float | None = 0,
    maximum: float | None = None,
) -> timeseries.Panel:
    """Series over time."""
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    panel = panel.span(span).height(_GRAPH_HEIGHT).line_width(1).show_points(options.VisibilityMode.NEVER)
    panel = panel.fill_opacity(60 if stacked else 10)
    legend = common.VizLegendOptions().display_mode(options.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(options.LegendPlacement.BOTTOM).show_legend(True))
    panel = panel.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL))
    if minimum is not None:
        panel = panel.min(minimum)
    if maximum is not None:
        panel = panel.max(maximum)
    for query in _queries(queries, instant=False):
        panel = panel.with_target(query)
    return panel


def figure(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    steps: tuple[tuple[float | None, str], ...] = ((None, "blue"),),
    decimals: int | None = None,
    span: int = 4,
) -> stat.Panel:
    """One number. `steps` are the colours, each from a value on."""
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    panel = panel.span(span).height(_STAT_HEIGHT).graph_mode(options.BigValueGraphMode.NONE)
    panel = panel.color_mode(options.BigValueColorMode.VALUE).reduce_options(_last())
    panel = panel.thresholds(builders.ThresholdsConfig().steps([Threshold(*step) for step in steps]))
    if decimals is not None:
        panel = panel.decimals(decimals)
    for query in _queries([(expression, title)], instant=True):
        panel = panel.with_target(query)
    return panel


def bars(title: str, description: str, unit: str, *queries: Query, span: int = 8) -> bargauge.Panel:
    """The last value of each series, as horizontal bars."""
    panel = bargauge.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    panel = panel.span(span).height(_GRAPH_HEIGHT).min(0).decimals(0).reduce_options(_last())
    panel = panel.orientation(options.VizOrientation.HORIZONTAL)
    panel = panel.display_mode(options.BarGaugeDisplayMode.BASIC)
    panel = panel.thresholds(builders.ThresholdsConfig().steps([Threshold(None, "blue")]))
    for query in _queries(queries, instant=True):
        panel = panel.with_target(query)
    return panel


def _queries(queries: tuple[Query, ...] | list[Query], *, instant: bool) -> list[Dataquery]:
    built = []
    for number, (expression, legend) in enumerate(queries):
        query = Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        built.append(query.instant() if instant else query.range())
    return built


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def datasource_variable() -> Builder[VariableModel]:
    """The variable for the Prometheus."""
    variable = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return variable.current(VariableOption(text="Prometheus", value="prometheus"))


def interval_variable() -> Builder[VariableModel]:
    """The variable for the interval of rates and percentiles."""
    variable = builders.IntervalVariable("interval").label("Interval").values("1m,5m,15m,1h,6h")
    return variable.current(VariableOption(selected=True, text="5m", value="5m"))


def agent_name_variable() -> Builder[VariableModel]:
    """The variable for the agent names."""
    variable = builders.QueryVariable("agent_name").label("Agent").datasource(SOURCE)
    variable = variable.query(AGENT_NAMES)
    variable = variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    everything = VariableOption(selected=True, text="All", value="$__all")
    return variable.multi(True).include_all(True).all_value(".*").current(everything)


def quantile(q: float, metric: str, *, by: str = "", labels: str = "") -> str:
    """Return the expression for a quantile of a histogram over the chosen interval."""
    kept = ", ".join(filter(None, ["le", by]))
    chosen = f"{{{labels}}}" if labels else ""
    return f"histogram_quantile({q}, sum by ({kept}) (rate({metric}_bucket{chosen}[$interval])))"


def per_second(metric: str, *, by: str, labels: str = "") -> str:
    """Return the expression for a counter's rate over the chosen interval."""
    chosen = f"{{{labels}}}" if labels else ""
    return (
        f"sum by ({by}) (rate({metric}{chosen}[$interval]))"
        if by
        else f"sum(rate({metric}{chosen}[$interval]))"
    )


def over_range(metric: str, *, by: str = "", labels: str = "") -> str:
    """Return the expression for how much a counter has grown over the whole time shown."""
    chosen = f"{{{labels}}}" if labels else ""
    return f"sum{f' by ({by}) ' if by else ''}(increase({metric}{chosen}[$__range]))"


def board(
    uid: str, title: str, description: str, *, variables: tuple[Builder[VariableModel], ...] = ()
) -> builders.Dashboard:
    """Return an empty dashboard with the common variables, and some of its own."""
    new = builders.Dashboard(title).uid(uid).description(description).tags(["rollcall"]).readonly()
    new = new.time("now-3h", "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    link = builders.DashboardLink("Rollcall").type(DashboardLinkType.DASHBOARDS).tags(["rollcall"])
    new = new.link(link.as_dropdown(True).keep_time(True).include_vars(True))
    for variable in (datasource_variable(), *variables, interval_variable()):
        new = new.with_variable(variable)
    return new


def rows(dashboard: builders.Dashboard, **titled: list[Panel]) -> Dashboard:
    """Return the dashboard with rows of panels; a row's keyword is its title, with `_` for a space."""
    for title, panels in titled.items():
        dashboard = dashboard.with_row(builders.Row(title.replace("_", " ")))
        for panel in panels:
            dashboard = dashboard.with_panel(panel)
    built = dashboard.build()
    for number, placed in enumerate(built.panels or [], start=1):
        placed.id_val = number
    return built


def or_none(expression: str, label: str) -> str:
    """Return the expression; if it finds nothing, it gives 0 under the name "none"."""
    return f'{expression} or on () label_replace(vector(0), "{label}", "none", "", "")'
