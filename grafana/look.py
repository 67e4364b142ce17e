"""The look of every dashboard: colours, statuses, queries, panels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from string import ascii_uppercase
from typing import Literal, TypeVar, get_args

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    gauge,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from exporter.statuses import STATUSES, UNKNOWN, Phase

# The colours of Okabe and Ito, which people with any colour blindness can distinguish, and lighter or darker shades.
GREEN, ORANGE, RED, BLUE, SKY, GREY = "#009E73", "#E69F00", "#D55E00", "#0072B2", "#56B4E9", "#707070"
_PALETTE: Mapping[Phase | Literal["failed"], Sequence[str]] = {
    "waiting": ("#F0E442", ORANGE, "#7A5200"),
    "running": (BLUE, "#00335A"),
    "finishing": (SKY, "#B5DDF5", "#3C6E91"),
    "cancelling": ("#CFCFCF",),
    "ended": (GREEN, GREY),
    "failed": (RED, "#CC79A7", "#6B1F00"),
    "unknown": ("#4D4D4D",),
}
"""The colours of the statuses of each phase, and of failures, in the order of the table; used again if they run out."""


def _colours() -> Iterator[tuple[str, str]]:
    palette = {group: cycle(colours) for group, colours in _PALETTE.items()}
    phases = get_args(Phase)
    for status in sorted((*STATUSES.values(), UNKNOWN), key=lambda status: phases.index(status.phase)):
        yield status.name, next(palette["failed" if status.failed else status.phase])


STATUS_COLOURS: Mapping[str, str] = dict(_colours())
STATUS_NUMBERS = {status: number for number, status in enumerate(STATUS_COLOURS)}

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24  # of Grafana's grid

Property = model.DynamicConfigValue
Query = prometheus.Dataquery
Panel = TypeVar(
    "Panel",
    bargauge.Panel,
    dashboard.Panel,
    gauge.Panel,
    heatmap.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
)
Step = tuple[float, str]  # a threshold: from that value on, that colour
DURATION = (Property("unit", "dtdurations"), Property("decimals", 1))  # "1 day, 23 hours" rather than "1 day"


# ----------------------------------------------------------------------------------------------------------- queries


def over_time(expression: str, legend: str = "__auto") -> Query:
    """A query for the whole time range."""
    return Query().expr(expression).legend_format(legend).range()


def now(expression: str, legend: str = "__auto") -> Query:
    """A query for the end of the time range alone."""
    return Query().expr(expression).legend_format(legend).instant()


def rows(expression: str) -> Query:
    """A query whose series become the rows of a table."""
    return Query().expr(expression).format(PromQueryFormat.TABLE).instant()


def rows_over_time(expression: str) -> Query:
    """A query whose samples become the rows of a table."""
    return Query().expr(expression).format(PromQueryFormat.TABLE).range()


def buckets(expression: str) -> Query:
    """A query for the buckets of a histogram over time."""
    return Query().expr(expression).legend_format("{{le}}").format(PromQueryFormat.HEATMAP).range()


# ------------------------------------------------------------------------------------------------- statuses and steps


def status_mappings() -> list[model.ValueMapping]:
    """Statuses as words in their colours, both by name and by the number that `status_number` gives them."""
    shown = {status: (STATUS_COLOURS[status], str(number)) for status, number in STATUS_NUMBERS.items()}
    return [
        model.ValueMap(
            {
                key: model.ValueMappingResult(text=status.replace("_", " "), color=colour, index=STATUS_NUMBERS[status])
                for status, (colour, number) in shown.items()
                for key in (number, status)
            }
        )
    ]


def words(**values: tuple[str, str]) -> list[model.ValueMapping]:
    """Numbers as words: `_1=("up", GREEN)`."""
    return [
        model.ValueMap(
            {
                number.removeprefix("_"): model.ValueMappingResult(text=text, color=colour, index=index)
                for index, (number, (text, colour)) in enumerate(values.items())
            }
        )
    ]


UP_OR_DOWN = words(_1=("up", GREEN), _0=("down", RED))


def steps(base: str, *above: Step) -> dashboard.ThresholdsConfig:
    """Thresholds: a colour, and others from a value on."""
    every = [model.Threshold(color=base), *(model.Threshold(value, colour) for value, colour in above)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(every)


def colour(value: str) -> Property:
    """A series' fixed colour, as an override."""
    return Property("color", {"mode": "fixed", "fixedColor": value})


# ------------------------------------------------------------------------------------------------------------- panels


def _common(
    panel: Panel,
    title: str,
    about: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    empty: str,
    unit: str = "short",
) -> Panel:
    for ref_id, query in zip(ascii_uppercase, queries, strict=False):
        query.ref_id(ref_id).datasource(DATASOURCE)
    panel.title(title).description(about).datasource(DATASOURCE).no_value(empty).span(size[0]).height(size[1])
    if unit in ("s", "dtdurations"):
        panel.decimals(1)
    return panel.unit(unit).targets(list(queries))


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def figure(
    title: str, about: str, *queries: Query, unit: str = "short", empty: str, size: tuple[int, int] = (4, 4)
) -> stat.Panel:
    """One figure or several, large; grey says that it is neither good nor bad."""
    panel = _common(stat.Panel(), title, about, queries, size, empty, unit).reduce_options(_last())
    panel.graph_mode(options.BigValueGraphMode.NONE).color_mode(options.BigValueColorMode.VALUE)
    several = options.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else options.BigValueTextMode.AUTO
    return panel.text_mode(several).thresholds(steps("text"))


def part(title: str, about: str, query: Query, *above: Step, size: tuple[int, int] = (4, 4), empty: str) -> gauge.Panel:
    """A part of a whole, 0 to 1, as a gauge."""
    panel = _common(gauge.Panel(), title, about, [query], size, empty, "percentunit").min(0).max(1)
    return panel.reduce_options(_last()).thresholds(steps(BLUE, *above))


def lines(
    title: str, about: str, *queries: Query, unit: str = "short", empty: str, size: tuple[int, int] = (8, 8)
) -> timeseries.Panel:
    """Figures over time. Gaps stay gaps: what was not known then is not drawn."""
    panel = _common(timeseries.Panel(), title, about, queries, size, empty, unit).line_width(2).fill_opacity(8)
    legend = common.VizLegendOptions().display_mode(options.LegendDisplayMode.LIST).show_legend(True)
    panel.legend(legend.placement(options.LegendPlacement.BOTTOM)).show_points(options.VisibilityMode.AUTO)
    return panel.tooltip(
        common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING)
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """The same with the figures on top of each other, in steps as they are counts."""
    panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL)).fill_opacity(70).line_width(0)
    return panel.line_interpolation(options.LineInterpolation.STEP_AFTER).min(0).decimals(0)


def daily(title: str, about: str, query: Query, unit: str, empty: str, size: tuple[int, int]) -> timeseries.Panel:
    """A bar for each of the last 30 days, whatever the time range: a figure of the day that begins at that time."""
    panel = stacked(lines(title, about, query.interval("1d"), unit=unit, empty=empty, size=size))
    return panel.draw_style(options.GraphDrawStyle.BARS).decimals(2).time_from("30d")


def by_status(panel: timeseries.Panel) -> timeseries.Panel:
    """The same with every status in its colour."""
    for status, value in STATUS_COLOURS.items():
        panel.override_by_name(status, [colour(value)])
    return panel


def bars(
    title: str, about: str, query: Query, unit: str = "short", *above: Step, empty: str, size: tuple[int, int] = (8, 8)
) -> bargauge.Panel:
    """Figures side by side as lying bars."""
    panel = _common(bargauge.Panel(), title, about, [query], size, empty, unit).min(0).reduce_options(_last())
    panel.orientation(options.VizOrientation.HORIZONTAL).display_mode(options.BarGaugeDisplayMode.BASIC)
    return panel.thresholds(steps(BLUE, *above))


def heat(title: str, about: str, query: Query, unit: str, empty: str, size: tuple[int, int] = (8, 8)) -> heatmap.Panel:
    """A histogram over time: the darker, the more was observed in that bucket and half an hour, or longer."""
    panel = _common(heatmap.Panel(), title, about, [query], size, empty).interval("30m").decimals(0)
    scheme = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    axis = heatmap.YAxisConfig().unit(unit).decimals(0).axis_placement(options.AxisPlacement.LEFT)
    cells = heatmap.CellValues().unit("short").decimals(0)
    return (
        panel.color(scheme.exponent(0.5))
        .y_axis(axis)
        .cell_values(cells)
        .show_tooltip()
        .show_y_histogram()
        .hide_legend()
    )


def curves(
    title: str, about: str, axes: Mapping[str, Query], by: str, empty: str, size: tuple[int, int]
) -> dashboard.Panel:
    """Lines of one figure by another instead of by time, one for each value of the label `by`; `axes` has x, then y.

    The library knows the options of Grafana 10.1 only, and these are of 11.1, hence the plain panel; an older Grafana
    draws the first line."""
    panel = _common(dashboard.Panel().type("xychart"), title, about, list(axes.values()), size, empty)
    panel.plugin_version("11.1.0").options(
        {
            "mapping": "auto",
            "series": [],
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        }
    ).custom({"show": "lines", "lineWidth": 2})
    for axis in axes:
        panel.override_by_name(axis, [Property("custom.axisLabel", axis)])
    for transformation, choices in (
        ("merge", {}),
        (
            "organize",
            _columns(["Time"], {by: by, **{f"Value #{ref}": axis for ref, axis in zip("AB", axes, strict=True)}}),
        ),
        ("partitionByValues", {"fields": [by], "keepFields": False}),
    ):
        panel.with_transformation(model.DataTransformerConfig(transformation, options=choices))
    return panel


def _columns(hidden: Sequence[str], named: Mapping[str, str]) -> dict[str, dict[str, object]]:
    return {
        "excludeByName": {name: True for name in hidden if name not in named},
        "indexByName": {name: index for index, name in enumerate(named)},
        "renameByName": dict(named),
    }


def timeline(
    title: str,
    about: str,
    query: Query,
    mappings: list[model.ValueMapping],
    empty: str,
    size: tuple[int, int] = (WIDTH, 5),
) -> statetimeline.Panel:
    """States over time, a band each."""
    panel = _common(statetimeline.Panel(), title, about, [query], size, empty).mappings(mappings)
    panel.show_value(options.VisibilityMode.AUTO).row_height(0.8).fill_opacity(85).line_width(0)
    return panel.legend(common.VizLegendOptions().show_legend(False)).thresholds(steps(GREY))


def grid(
    title: str,
    about: str,
    queries: Sequence[Query],
    columns: Mapping[str, str],
    empty: str,
    size: tuple[int, int] = (WIDTH, 9),
) -> table.Panel:
    """A table of the queries' labels and values, a row for what has the same labels. `columns` maps those to show, in
    that order, to their titles: labels, and `A`, `B` … for the queries' values."""
    panel = _common(table.Panel(), title, about, queries, size, empty).cell_height(options.TableCellHeight.SM)
    values = {ref: f"Value #{ref}" if len(queries) > 1 else "Value" for ref in ascii_uppercase[: len(queries)]}
    named = {values.get(name, name): title for name, title in columns.items()}
    hidden = ["Time", "__name__", "instance", "job", *values.values()]
    panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    return panel.with_transformation(model.DataTransformerConfig("organize", options=_columns(hidden, named)))
