"""Links of panels and alerts lead somewhere: to dashboards, variables, traces, runbooks."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from dashboards.build import GRAFANA
from dashboards.frame import RUNBOOKS as RUNBOOKS_URL

from .artifacts import ALERTS, DASHBOARDS, PANELS, ROOT, RUNBOOKS, Panel, check_traceql, variables
from .promql import labels_of

LINKS = [pytest.param(panel, link["url"], id=f"{panel}/{link['title']}") for panel in PANELS for link in panel.links]
EVERY_ALERT = pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda alert: "-".join(filter(None, (alert["alert"], alert["labels"].get("long_window"))))
)


@pytest.mark.parametrize(("panel", "url"), LINKS)
def test_a_link_leads_somewhere(panel: Panel, url: str) -> None:
    """To traces, to the runbook of an alert, or to a dashboard by its uid, so that it survives a new title."""
    path, _, query = url.partition("?")
    if path == f"{RUNBOOKS_URL}/${{__data.fields.alertname}}.md":
        assert {f"{alert['alert']}.md" for alert in ALERTS} <= {book.name for book in RUNBOOKS.iterdir()}
        return
    if path == "/explore":
        _check_traces(query)
        return
    assert path.removeprefix("/d/") in DASHBOARDS
    target = variables(DASHBOARDS[path.removeprefix("/d/")])
    assert set(re.findall(r"var-(\w+)=", query)) <= target
    assert set(re.findall(r"\$\{(\w+):queryparam\}", query)) <= target & variables(DASHBOARDS[panel.uid])


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)
def test_the_way_to_the_other_dashboards_is_in_sight(board: dict[str, Any]) -> None:
    """Grafana shows a list of dashboards above the panels, and nowhere if it is placed in the menu of controls."""
    (link,) = board["links"]
    assert link["type"] == "dashboards"
    assert "placement" not in link
    assert all("placement" not in annotation for annotation in board["annotations"]["list"])


def _check_traces(query: str) -> None:
    """As Grafana reads it, which decodes a link before it takes it apart."""
    parameters = dict(part.split("=", 1) for part in unquote(query).split("&"))
    pane = json.loads(parameters["panes"])["t"]
    assert pane["datasource"] == "${tempo}"
    check_traceql(pane["queries"][0]["query"])


@pytest.mark.parametrize(("panel", "url"), LINKS)
def test_a_link_takes_along_what_its_panel_shows(panel: Panel, url: str) -> None:
    """A series has its labels, a table's row has columns; the one is not found in the other."""
    labels = frozenset[str]().union(*(labels_of(expression) for expression in panel.expressions))
    is_table = panel.json["type"] == "table"
    taken = dict.fromkeys(re.findall(r"\$\{__field\.labels\.(\w+)\}", url), "series")
    taken |= dict.fromkeys(re.findall(r"\$\{__data\.fields\.(\w+)\}", url), "row")
    assert set(taken) <= labels
    assert set(taken.values()) <= {"row" if is_table else "series"}


@pytest.mark.parametrize(("panel", "url"), LINKS)
def test_a_link_names_only_variables_that_grafana_knows(panel: Panel, url: str) -> None:
    """A misspelt one would stay in the address as it is."""
    named = set(re.findall(r"\$\{([^}:]+)", url))
    builtin = {"__url_time_range", "__org.id", "__from", "__to"}
    fields = {name for name in named if name.startswith(("__field.labels.", "__data.fields."))}
    assert named - builtin - fields <= variables(DASHBOARDS[panel.uid])


@EVERY_ALERT
def test_an_alert_leads_to_its_runbook(alert: dict[str, Any]) -> None:
    """A file in this repository, of the alert's own name."""
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS_URL}/{alert['alert']}.md"
    assert RUNBOOKS_URL.endswith(RUNBOOKS.relative_to(ROOT).as_posix())
    assert (RUNBOOKS / f"{alert['alert']}.md").is_file()


@EVERY_ALERT
def test_an_alert_leads_to_a_dashboard(alert: dict[str, Any]) -> None:
    """The dashboard exists, and has the variables in the link."""
    address, _, query = alert["annotations"]["dashboard_url"].partition("?")
    assert address.startswith(f"{GRAFANA}/d/")
    uid = address.removeprefix(f"{GRAFANA}/d/")
    assert uid in DASHBOARDS
    assert set(re.findall(r"var-(\w+)=", query)) <= variables(DASHBOARDS[uid])


@EVERY_ALERT
def test_an_alert_speaks_of_labels_that_it_has(alert: dict[str, Any]) -> None:
    """In its texts and addresses; a label that is not there would be a blank."""
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    assert named <= labels_of(alert["expr"]) | set(alert["labels"])


@EVERY_ALERT
def test_an_alert_says_all_that_it_should(alert: dict[str, Any]) -> None:
    """Severity, summary, description and two addresses."""
    assert alert["alert"].startswith("TaskCtx")
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert all(alert["annotations"].values())
