"""From dashboards as data to Grafana's JSON, with grafana-foundation-sdk."""

from __future__ import annotations

import json
from typing import Any, cast
from zlib import crc32

from grafana_foundation_sdk.builders import (
    common as common_builders,
)
from grafana_foundation_sdk.builders import (
    dashboard as dashboards,
)
from grafana_foundation_sdk.builders import (
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as dm
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from . import frame
from .layout import Place, laid_out
from .model import Color, Column, Dashboard, Link, Panel, Query, Row, Thresholds, Variable

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
_AnyPanel = stat.Panel | timeseries.Panel | heatmap.Panel | table.Panel
_AT_LEAST = {"ops": 0.1, "percentunit": 0.1, "short": 1.0, "s": 0.01}
"""The least upper end of an axis, by unit: Grafana draws an axis with only zeros up to 100, which is 10,000 %."""

_COLUMN = 80
"""Pixels that a table's column has at least; Grafana's own 150 are too many for the columns of some tables."""
_NEW: dict[str, type[_AnyPanel]] = {
    "stat": stat.Panel,
    "timeseries": timeseries.Panel,
    "heatmap": heatmap.Panel,
    "table": table.Panel,
}


def to_json(board: Dashboard) -> str:
    """The dashboard's JSON, the same for the same dashboard."""
    plain = json.loads(JSONEncoder().encode(_dashboard(board).build()))
    return json.dumps(_in_sight(plain), sort_keys=True, indent=2) + "\n"


def _in_sight(value: Any) -> Any:
    """The JSON, with links and annotations in the place where Grafana shows them: above the panels.

    The SDK puts each into the menu of the dashboard's controls, and cannot be told otherwise.  A list of dashboards is
    not shown there, so it would be nowhere.
    """
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value).items()
        return {key: _in_sight(each) for key, each in entries if (key, each) != ("placement", "inControlsMenu")}
    if isinstance(value, list):
        return [_in_sight(each) for each in cast("list[Any]", value)]
    return value


def _dashboard(board: Dashboard) -> dashboards.Dashboard:
    built = (
        dashboards.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([frame.TAG])
        .readonly()
        .timezone("browser")
        .tooltip(dm.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(board.time_from, "now")
        .with_variable(_datasource("datasource", "Prometheus", "prometheus"))
        .with_variable(_datasource("tempo", "Tempo", "tempo"))
        .link(_between_dashboards())
        .annotation(_annotation("Firing alerts", frame.FIRING_ALERTS, "red", "{{severity}} alerts"))
        .annotation(_annotation("Version changes", frame.VERSION_CHANGES, "blue", "taskctx {{version}} on {{job}}"))
    )
    for variable in frame.VARIABLES:
        built = built.with_variable(_variable(variable, is_shown=variable.name in board.variables))
    for each, place in laid_out(board.rows):
        if isinstance(each, Row):
            built = built.with_row(dashboards.Row(each.title).id(_id(each.title)).grid_pos(_grid(place)))
        else:
            built = built.with_panel(_panel(each).id(_id(each.title)).grid_pos(_grid(place)))
    return built


def _id(title: str) -> int:
    """A panel's id from its title, so that its address stays the same when other panels are added."""
    return crc32(title.encode()) >> 1


def _grid(place: Place) -> dm.GridPos:
    return dm.GridPos(x=place.x, y=place.y, w=place.width, h=place.height)


def _datasource(name: str, label: str, kind: str) -> dashboards.DatasourceVariable:
    return dashboards.DatasourceVariable(name).label(label).type(kind)


def _variable(variable: Variable, *, is_shown: bool) -> dashboards.QueryVariable:
    return (
        dashboards.QueryVariable(variable.name)
        .label(variable.label)
        .description(variable.description)
        .datasource(PROMETHEUS)
        .query({"query": variable.query, "refId": variable.name})
        .refresh(dm.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dm.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .hide(dm.VariableHide.DONT_HIDE if is_shown else dm.VariableHide.HIDE_VARIABLE)
        .current(dm.VariableOption(selected=True, text="All", value="$__all"))
    )


def _between_dashboards() -> dashboards.DashboardLink:
    return (
        dashboards.DashboardLink("taskctx")
        .type(dm.DashboardLinkType.DASHBOARDS)
        .tags([frame.TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _annotation(name: str, expr: str, color: str, title: str) -> dashboards.AnnotationQuery:
    return (
        dashboards.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(color)
        .expr(expr)
        .title_format(title)
        .step("60s")
    )


def _panel(panel: Panel) -> _AnyPanel:
    built = (
        _NEW[panel.kind]()
        .title(panel.title)
        .description(panel.description)
        .datasource(PROMETHEUS)
        .unit(panel.unit)
        .no_value(panel.empty)
    )
    for ref_id, query in zip("ABCDEFGH", panel.queries, strict=False):
        built = built.with_target(_query(query, ref_id, panel.kind))
    if panel.thresholds:
        steps = [dm.Threshold(value=value, color=color) for value, color in panel.thresholds]
        built = built.thresholds(dashboards.ThresholdsConfig().mode(dm.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.links:
        built = built.data_links([_link(link) for link in panel.links])
    if panel.maximum is not None:
        built = built.min(panel.minimum).max(panel.maximum)
    elif panel.scale == "symlog":
        # such an axis heeds no soft minimum, and beside one no hard minimum
        built = built.min(panel.minimum)
    if panel.decimals is not None:
        built = built.decimals(panel.decimals)
    return _finish(built, panel)


def _query(query: Query, ref_id: str, kind: str) -> prometheus.Dataquery:
    built = (
        prometheus.Dataquery()
        .datasource(PROMETHEUS)
        .expr(query.expr)
        .ref_id(ref_id)
        .editor_mode(prometheus_models.QueryEditorMode.CODE)
        .exemplar(kind in {"timeseries", "heatmap"})
    )
    if query.legend:
        built = built.legend_format(query.legend)
    if kind == "heatmap":
        built = built.format(prometheus_models.PromQueryFormat.HEATMAP)
    if kind == "table":
        built = built.format(prometheus_models.PromQueryFormat.TABLE)
    return built.instant() if query.instant or kind == "table" else built.range()


def _link(link: Link) -> dashboards.DashboardLink:
    return dashboards.DashboardLink(link.title).url(link.url).target_blank(True)


def _finish(built: _AnyPanel, panel: Panel) -> _AnyPanel:
    """Set the options that only one kind of panel has."""
    match built:
        case stat.Panel():
            calculation = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
            built = built.reduce_options(calculation).color_mode(common.BigValueColorMode.BACKGROUND)
            # one under the other, or the longest name has the smallest print
            built = built.orientation(common.VizOrientation.HORIZONTAL).graph_mode(common.BigValueGraphMode.NONE)
            return built.mappings([_without_data(panel.nothing)])
        case timeseries.Panel():
            return _graph(built, panel)
        case heatmap.Panel():
            color = (
                heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(32)
            )
            return built.calculate(False).color(color).y_axis(heatmap.YAxisConfig().unit(panel.unit))
        case table.Panel():
            return _table(built, panel)


def _graph(built: timeseries.Panel, panel: Panel) -> timeseries.Panel:
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    built = built.legend(legend.placement(common.LegendPlacement.BOTTOM).show_legend(True))
    built = built.show_points(common.VisibilityMode.NEVER)
    if panel.scale == "linear":
        built = built.axis_soft_min(panel.minimum)
    if panel.scale != "linear":
        scale = common_builders.ScaleDistributionConfig().type(common.ScaleDistribution(panel.scale)).log(10)
        built = built.scale_distribution(scale.linear_threshold(1) if panel.scale == "symlog" else scale)
    at_least = panel.at_least or _AT_LEAST.get(panel.unit)
    if panel.maximum is None and panel.scale != "log" and at_least is not None:
        built = built.axis_soft_max(at_least)
    for name, color in panel.colors:
        fixed = [_option("color", {"mode": "fixed", "fixedColor": color})]
        is_pattern = name.startswith("/")
        built = built.override_by_regexp(name, fixed) if is_pattern else built.override_by_name(name, fixed)
    if panel.stacked:
        # areas without lines: the line of a zero lies on top of the others, and looks as if it were their sum
        built = built.fill_opacity(60).line_width(0)
        return built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    built = built.fill_opacity(8 if panel.is_filled else 0)
    if panel.thresholds:
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        return built.thresholds_style(style)
    return built


def _table(built: table.Panel, panel: Panel) -> table.Panel:
    """A table with a row for each label set and a column for each query."""
    values = {f"Value #{ref_id}": query.name for ref_id, query in zip("ABCDEFGH", panel.queries, strict=False)}
    if len(panel.queries) == 1:
        values = {"Value": panel.queries[0].name}
    else:
        built = built.with_transformation(dm.DataTransformerConfig(id_val="merge", options={}))
    named = {value: name for value, name in values.items() if name}
    before = {name: value for value, name in named.items()}
    organize: dict[str, Any] = {
        "excludeByName": dict.fromkeys(("Time", *(value for value in values if value not in named)), True),
        "renameByName": named | {column.name: column.title for column in panel.columns if column.title},
        "indexByName": {before.get(column.name, column.name): index for index, column in enumerate(panel.columns)},
    }
    # an empty cell is one thing, an empty table another
    built = built.min_width(_COLUMN).override_by_regexp("/.*/", [_option("noValue", "-")])
    for column in panel.columns:
        if options := _column(column):
            built = built.override_by_name(column.name, options)
    if panel.sort:
        built = built.sort_by([_sorted_by(name) for name in panel.sort])
    return built.with_transformation(dm.DataTransformerConfig(id_val="organize", options=organize))


def _sorted_by(name: str) -> common_builders.TableSortByFieldState:
    return common_builders.TableSortByFieldState().display_name(name.removeprefix("-")).desc(name.startswith("-"))


def _column(column: Column) -> list[dm.DynamicConfigValue]:
    options: list[dm.DynamicConfigValue] = []
    if column.thresholds or column.words:
        options += [
            _option("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
            _option("color", {"mode": "thresholds"}),
            _option("thresholds", _steps(column.thresholds or ((None, "transparent"),))),
        ]
    if column.words:
        words = {
            value: {"text": text, "color": color, "index": index}
            for index, (value, text, color) in enumerate(column.words)
        }
        options.append(_option("mappings", [{"type": "value", "options": words}]))
    if column.links:
        links = [{"title": link.title, "url": link.url, "targetBlank": True} for link in column.links]
        options.append(_option("links", links))
    if column.width:
        options.append(_option("custom.width", column.width))
    return options


def _steps(thresholds: Thresholds) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in thresholds]}


def _without_data(color: Color) -> dm.SpecialValueMap:
    """The colour of a panel without data, which would otherwise have the thresholds' base colour."""
    result = dm.ValueMappingResult(color=color, index=0)
    return dm.SpecialValueMap(
        options=dm.DashboardSpecialValueMapOptions(match=dm.SpecialValueMatch.NULL, result=result)
    )


def _option(name: str, value: object) -> dm.DynamicConfigValue:
    return dm.DynamicConfigValue(id_val=name, value=value)
