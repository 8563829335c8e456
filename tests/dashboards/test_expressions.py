"""Every PromQL expression parses, and names only what exists."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from taskctx.telemetry.names import METRICS, Metric

from .artifacts import ALERTS, DASHBOARDS, PANELS, RECORDING_RULES, Panel
from .promql import BadExpression, labels_of, metrics_behind, named_series, recorded

ANNOTATIONS = [
    pytest.param(annotation["expr"], id=f"{uid}/{annotation['name']}")
    for uid, board in DASHBOARDS.items()
    for annotation in board["annotations"]["list"]
]
QUERY_VARIABLES = [
    pytest.param(variable["query"]["query"], id=f"{uid}/{variable['name']}")
    for uid, board in DASHBOARDS.items()
    for variable in board["templating"]["list"]
    if variable["type"] == "query"
]
EVERY_RULE = pytest.mark.parametrize(
    "rule",
    [*RECORDING_RULES, *ALERTS],
    ids=lambda rule: "-".join(
        filter(None, (rule.get("record"), rule.get("alert"), rule.get("labels", {}).get("long_window")))
    ),
)


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_panels_ask_for_what_exists(panel: Panel) -> None:
    """Metrics, labels, closed label values and bucket bounds; and vectors that are matched have the same labels."""
    assert panel.expressions
    for expression in panel.expressions:
        labels_of(expression)


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_legends_name_labels_of_the_result(panel: Panel) -> None:
    """A legend of a label that is not there is blank."""
    for target in panel.json["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        assert named <= labels_of(target["expr"]), target["expr"]


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_series_of_a_panel_can_be_told_apart(panel: Panel) -> None:
    """Each label of a result is in its legend; in a table, labels are columns, and a stat has one value for each."""
    if panel.json["type"] in {"table", "heatmap"}:
        return
    legends = [target.get("legendFormat", "") for target in panel.json["targets"]]
    assert len(set(legends)) == len(legends)
    for target in panel.json["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        # a job is chosen above, and shown where it is all there is
        assert labels_of(target["expr"]) - shown <= {"job"}, target["expr"]


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_panels_leave_the_window_to_grafana(panel: Panel) -> None:
    """A literal window is wrong for another scrape interval or another zoom, but where the panel says that it has one."""
    said = json.dumps([panel.json["title"], panel.json.get("transformations"), panel.json["description"]])
    for expression in panel.expressions:
        # what a process ran last, and that it ran at all, is no matter of zoom
        seen_last = r"last_over_time\([^)]*\)|max_over_time\(timestamp\([^)]*\)\[6h:1m\]\)"
        windows = set(re.findall(r"\[(.*?)\]", re.sub(seen_last, "", expression)))
        assert windows <= {"$__rate_interval", "$__range", "30d", *(["5m"] if "5 min" in said else [])}, expression


@pytest.mark.parametrize("expression", ANNOTATIONS)
def test_annotations_ask_for_what_exists(expression: str) -> None:
    """Firing alerts and version changes."""
    labels_of(expression)


@pytest.mark.parametrize("query", QUERY_VARIABLES)
def test_variables_ask_for_what_exists(query: str) -> None:
    """``label_values(series, label)`` is Grafana's own, around a selector of Prometheus's."""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    assert found is not None
    assert found[2] in labels_of(found[1])


@EVERY_RULE
def test_rules_ask_for_what_exists(rule: dict[str, Any]) -> None:
    """Recording rules and alerts."""
    labels_of(rule["expr"])


@pytest.mark.parametrize("rule", RECORDING_RULES, ids=lambda rule: rule["record"])
def test_recorded_series_say_their_labels_in_their_name(rule: dict[str, Any]) -> None:
    """``job_docket:…`` has the labels job and docket_name, and no other."""
    level = rule["record"].split(":")[0]
    parts = {"job": "job", "docket": "docket_name", "instance": "instance", "outcome": "outcome", "reason": "reason"}
    assert labels_of(rule["expr"]) == {parts[part] for part in level.split("_")}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_used(metric: Metric) -> None:
    """A metric that no panel and no alert shows is not worth its series."""
    expressions = [expression for panel in PANELS for expression in panel.expressions]
    expressions += [rule["expr"] for rule in ALERTS]
    assert any(metric in metrics_behind(expression) for expression in expressions)


@pytest.mark.parametrize("name", recorded())
def test_every_recorded_series_is_used(name: str) -> None:
    """A panel or an alert reads each recorded series: an unused rule only costs."""
    expressions = [expression for panel in PANELS for expression in panel.expressions]
    expressions += [rule["expr"] for rule in ALERTS]
    assert any(name in named_series(expression) for expression in expressions)


@pytest.mark.parametrize(
    "expression",
    [
        "taskctx_restore_total",
        "rate(taskctx_restores_total{docket=~'.*'}[5m])",
        "rate(taskctx_restores_total{outcome='success'}[5m])",
        "rate(taskctx_restore_failures_total{reason=~'missing|gone'}[5m])",
        "sum by (reason) (taskctx_restores_total)",
        "sum by (job) (taskctx_saves_total) / sum(taskctx_saves_total)",
        "sum by (job) (taskctx_saves_total) and on (instance) up",
        "rate(taskctx_snapshot_ttl_remaining_ratio_bucket{le='0.15'}[5m])",
        "rate(taskctx_credential_ttl_remaining_seconds_bucket{le='60.0'}[5m])",
        "histogram_quantile(0.9, sum by (job) (rate(taskctx_save_duration_seconds_bucket[5m])))",
    ],
)
def test_the_check_itself_finds_mistakes(expression: str) -> None:
    """Each of these parses, and would be an empty panel."""
    with pytest.raises(BadExpression):
        labels_of(expression)
