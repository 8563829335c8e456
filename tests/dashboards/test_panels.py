"""Panels say what they show, what good looks like, and what it means when there is nothing to show."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from dashboards.colors import BAD, GOOD, OUTCOMES, REASONS
from taskctx.errors import Reason

from .artifacts import DASHBOARDS, PANELS, Panel
from .promql import CLOSED_SETS, labels_of, metrics_behind

EVERY_PANEL = pytest.mark.parametrize("panel", PANELS, ids=str)
EVERY_DASHBOARD = pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)


@EVERY_PANEL
def test_a_panel_says_what_good_looks_like(panel: Panel) -> None:
    """In its description, the only text that Grafana shows beside it."""
    assert "Good" in panel.json["description"]


@EVERY_PANEL
def test_a_panel_has_a_unit(panel: Panel) -> None:
    """A number without one is read wrongly."""
    assert panel.defaults["unit"]


@EVERY_PANEL
def test_a_panel_says_why_it_may_be_empty(panel: Panel) -> None:
    """An empty Prometheus shows sentences: 'no data: ...', or what nothing means here."""
    assert panel.defaults["noValue"].partition(":")[0] in {"no data", "none", "0"}


@EVERY_PANEL
def test_a_panel_that_can_turn_red_says_what_to_do(panel: Panel) -> None:
    """Its description has more to say than what good looks like."""
    colors = {step["color"] for step in panel.defaults.get("thresholds", {}).get("steps", [])}
    if not colors.isdisjoint({BAD, "red"}):
        after_good = panel.json["description"].partition("Good")[2]
        assert len(after_good.split()) > 4, panel.json["description"]


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.json["type"] == "stat"], ids=str)
def test_nothing_is_not_red(panel: Panel) -> None:
    """Where there is no data there is nothing to be alarmed about, but for processes."""
    (mapping,) = panel.defaults["mappings"]
    assert mapping["options"]["match"] == "null"
    assert mapping["options"]["result"]["color"] == (
        BAD if panel.json["title"] == "Processes down, all dockets" else "blue"
    )


@EVERY_PANEL
def test_a_colored_series_is_one_that_there_can_be(panel: Panel) -> None:
    """It is called by a label's value, which is one of few, or is a limit; a registry's name may be before it."""
    names = [name for name in panel.colors if not name.startswith("/")]
    assert len(set(names)) == len(names)
    legends = {target.get("legendFormat") for target in panel.json["targets"]}
    words = {word for name in names if name not in legends for word in name.split()}
    assert words <= frozenset({"none"}).union(*CLOSED_SETS.values())


@EVERY_PANEL
def test_a_reason_and_an_outcome_have_their_color_on_every_board(panel: Panel) -> None:
    """A reason or outcome has the same color everywhere, and no failure is green."""
    legends = {target.get("legendFormat") for target in panel.json["targets"]}
    for legend, colors in {"{{reason}}": dict(REASONS), "{{outcome}}": dict(OUTCOMES)}.items():
        if legend in legends:
            assert colors.items() <= panel.colors.items()
    bad = re.compile("|".join((*Reason, "failed", "degraded", "dead", "absent", "invalid", "capacity")))
    assert [name for name, color in panel.colors.items() if bad.search(name) and "green" in color] == []


@EVERY_PANEL
def test_a_line_across_a_graph_is_no_all_clear(panel: Panel) -> None:
    """The line that must not be crossed is never green, whether high is bad or low."""
    if panel.json["type"] == "timeseries":
        steps = panel.defaults.get("thresholds", {}).get("steps", [])
        assert GOOD not in {step["color"] for step in steps}


@EVERY_PANEL
def test_an_axis_of_zeros_is_not_one_to_a_hundred(panel: Panel) -> None:
    """Which Grafana makes of them: 10,000 % above a healthy zero.  A log axis has no zero."""
    custom = panel.defaults.get("custom", {})
    if panel.json["type"] == "timeseries" and custom.get("scaleDistribution", {}).get("type") != "log":
        assert "axisSoftMax" in custom or "max" in panel.defaults


@EVERY_PANEL
def test_an_axis_does_not_go_below_what_there_can_be(panel: Panel) -> None:
    """A symlog axis heeds no soft minimum, and beside one no hard minimum: it would begin at its smallest value."""
    custom = panel.defaults.get("custom", {})
    if custom.get("scaleDistribution", {}).get("type") == "symlog":
        assert panel.defaults["min"] == 0
        assert "axisSoftMin" not in custom


@EVERY_PANEL
def test_a_log_axis_has_no_filled_areas(panel: Panel) -> None:
    """An area means nothing where ten times as much is as high again."""
    custom = panel.defaults.get("custom", {})
    if "scaleDistribution" in custom:
        assert custom["fillOpacity"] == 0


@pytest.mark.parametrize(
    ("title", "scale"),
    [
        ("Burn rate, all processes", "symlog"),
        ("Burn rate 1h / 5m", "symlog"),
        ("Age against pending_ttl", "log"),
        ("Snapshot size and its limit", "log"),
    ],
)
def test_what_lies_far_apart_has_a_log_axis(title: str, scale: str) -> None:
    """What is usual and its limit are both to be seen."""
    (panel,) = (panel for panel in PANELS if panel.json["title"] == title)
    assert panel.defaults["custom"]["scaleDistribution"]["type"] == scale


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.json["type"] == "table"], ids=str)
def test_a_tables_cells_look_like_what_they_are(panel: Panel) -> None:
    """Only what leads somewhere is a link; an empty cell does not say that the panel is empty."""
    assert "links" not in panel.defaults
    first = panel.json["fieldConfig"]["overrides"][0]
    assert (first["matcher"]["id"], first["properties"]) == ("byRegexp", [{"id": "noValue", "value": "-"}])


@EVERY_PANEL
def test_a_title_says_of_what(panel: Panel) -> None:
    """Beside another board's panels, too."""
    assert panel.json["title"] not in {"p99", "Up", "Fill"}


@EVERY_PANEL
def test_stacked_areas_have_no_lines(panel: Panel) -> None:
    """The line of a series that is zero would lie on top of the others, in its own colour."""
    custom = panel.defaults.get("custom", {})
    if "stacking" in custom:
        assert custom["lineWidth"] == 0


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.json["type"] == "table"], ids=str)
def test_a_tables_columns_fit_into_it(panel: Panel) -> None:
    """In a window of 1280 pixels; Grafana puts what does not fit out of sight."""
    (organize,) = (each["options"] for each in panel.json["transformations"] if each["id"] == "organize")
    labels = frozenset[str]().union(*(labels_of(expression) for expression in panel.expressions))
    columns = labels | set(organize["renameByName"])
    assert set(organize["indexByName"]) <= columns
    assert len(columns) * panel.defaults["custom"]["minWidth"] < 1280 * panel.json["gridPos"]["w"] / 24


@EVERY_PANEL
def test_a_panel_asks_the_chosen_data_source(panel: Panel) -> None:
    """Every query asks the data source that the dashboard's variable names."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel.json["datasource"] == chosen
    assert all(target["datasource"] == chosen for target in panel.json["targets"])


@EVERY_PANEL
def test_queries_of_a_panel_have_ids_of_their_own(panel: Panel) -> None:
    """Grafana keeps one query for each id."""
    ids = [target["refId"] for target in panel.json["targets"]]
    assert len(set(ids)) == len(ids)


@EVERY_PANEL
def test_exemplars_are_on_where_they_can_be_shown(panel: Panel) -> None:
    """The dots that lead from a metric to a trace."""
    shows = panel.json["type"] in {"timeseries", "heatmap"}
    assert all(target["exemplar"] is shows for target in panel.json["targets"])


def test_no_description_is_used_twice() -> None:
    """Each says something of its own panel."""
    counted = Counter(panel.json["description"] for panel in PANELS)
    assert [text for text, times in counted.items() if times > 1] == []


def test_uids_are_unique_and_are_the_files_names() -> None:
    """Links and alerts lead to uids."""
    assert sorted(DASHBOARDS) == ["taskctx-overview", "taskctx-registries", "taskctx-slo", "taskctx-workers"]


@EVERY_DASHBOARD
def test_panel_ids_are_unique(board: dict[str, Any]) -> None:
    """Rows count too."""
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


@EVERY_DASHBOARD
def test_titles_are_unique_on_a_dashboard(board: dict[str, Any]) -> None:
    """People tell panels apart by title."""
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)


@EVERY_DASHBOARD
def test_panels_lie_side_by_side(board: dict[str, Any]) -> None:
    """None over another, none beyond the 24 columns."""
    boxes = [panel["gridPos"] for panel in board["panels"]]
    for box in boxes:
        assert box["w"] > 0
        assert box["h"] > 0
        assert box["x"] >= 0
        assert box["x"] + box["w"] <= 24
    for one, other in combinations(boxes, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


@EVERY_DASHBOARD
def test_a_row_of_panels_is_full(board: dict[str, Any]) -> None:
    """No gap where a reader looks for a panel that is missing."""
    widths: Counter[int] = Counter()
    for panel in board["panels"]:
        widths[panel["gridPos"]["y"]] += panel["gridPos"]["w"]
    assert set(widths.values()) == {24}


@EVERY_DASHBOARD
def test_a_dashboard_describes_itself_and_is_tagged(board: dict[str, Any]) -> None:
    """The tag is what the drop-down of links goes by."""
    assert board["description"]
    assert board["tags"] == ["taskctx"]
    assert [(link["type"], link["tags"], link["includeVars"], link["keepTime"]) for link in board["links"]] == [
        ("dashboards", ["taskctx"], True, True)
    ]


@EVERY_PANEL
def test_a_panel_heeds_what_is_chosen_or_says_that_it_does_not(panel: Panel) -> None:
    """Each filter that its board shows is in each of its queries, or its title says that this is of all of them."""
    shown = {each["name"] for each in DASHBOARDS[panel.uid]["templating"]["list"] if each.get("hide") == 0}
    words = {"job": "all jobs", "instance": "all processes", "docket": "all dockets", "registry": "all registries"}
    ignored = {word for name, word in words.items() if name in shown and not _asks_for(panel, name)}
    assert ignored == {word for word in words.values() if word in panel.json["title"]}


def _asks_for(panel: Panel, variable: str) -> bool:
    """In one query at least, and in each that counts something by it; a process's settings are those of all its dockets."""
    asking = [expression for expression in panel.expressions if f"${variable}" in expression]
    others = [metrics_behind(expression) for expression in panel.expressions if expression not in asking]
    return bool(asking) and not any(f"{variable}_name" in metric.labels for metrics in others for metric in metrics)


@EVERY_DASHBOARD
def test_a_board_shows_the_filters_that_its_panels_go_by(board: dict[str, Any]) -> None:
    """The others are kept for the way to another board."""
    expressions = json.dumps([panel.get("targets", []) for panel in board["panels"]])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert (variable["hide"] == 0) == (f"${variable['name']}" in expressions), variable["name"]


@EVERY_DASHBOARD
def test_dashboards_share_their_variables(board: dict[str, Any]) -> None:
    """All dashboards have the same variables, so that a link can keep them."""
    names = [variable["name"] for variable in board["templating"]["list"]]
    assert names == ["datasource", "tempo", "job", "instance", "docket", "registry"]


def test_a_process_whose_saves_fail_is_above_those_that_lose_callers() -> None:
    """It is one of few submitters, and faults that all workers share would push it out of sight below them."""
    (processes,) = [panel for panel in PANELS if panel.json["title"] == "Processes, last 5 min"]
    assert [each["displayName"] for each in processes.json["options"]["sortBy"]] == ["State", "Unsaved", "Lost"]
