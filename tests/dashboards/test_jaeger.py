"""The dashboards for Jaeger are those for Tempo, but for where a link to traces leads."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from dashboards.build import HERE
from dashboards.jaeger import SERVICE
from taskctx.telemetry.names import Attribute, Span

from .artifacts import DASHBOARDS, variables

FIELDS = {"refId", "queryType", "service", "operation", "tags"}
"""Those of Grafana's query to Jaeger that are used; ``queryType`` is ``search`` where no trace id is asked for."""


def text(uid: str) -> str:
    return (HERE / "grafana-jaeger" / f"{uid}.json").read_text()


def panes(text: str) -> list[dict[str, Any]]:
    """What the links into Explore ask for."""
    return [json.loads(unquote(found))["t"] for found in re.findall(r'panes=([^"\\]+)', text)]


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_nothing_of_tempo_is_left(uid: str) -> None:
    """Its variable is Jaeger's, and the workers' service has one, which links between the boards keep."""
    assert not re.search("tempo|traceql", text(uid), re.IGNORECASE)
    board = json.loads(text(uid))
    assert variables(board) == variables(DASHBOARDS[uid]) - {"tempo"} | {"jaeger", SERVICE}
    (jaeger,) = (each for each in board["templating"]["list"] if each["name"] == "jaeger")
    assert (jaeger["type"], jaeger["query"]) == ("datasource", "jaeger")
    for link in re.findall(r'/d/taskctx[^"]+', text(uid)):
        assert f"${{{SERVICE}:queryparam}}" in link


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_every_link_to_traces_is_a_search_in_jaeger(uid: str) -> None:
    """As many as there are into Tempo, of spans and attributes that there are."""
    into_tempo = (HERE / "grafana" / f"{uid}.json").read_text()
    found = panes(text(uid))
    assert len(found) == len(panes(into_tempo))
    for pane in found:
        (query,) = pane["queries"]
        assert (pane["datasource"], query["queryType"], query["service"]) == ("${jaeger}", "search", f"${{{SERVICE}}}")
        assert set(query) == FIELDS
        assert query["operation"] in set(Span)
        assert {tag.partition("=")[0] for tag in query["tags"].split()} <= set(Attribute)


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_all_else_is_the_same(uid: str) -> None:
    """Panels and their queries."""
    board = json.loads(text(uid))
    queries = [[panel["title"], panel.get("targets")] for panel in board["panels"]]
    assert queries == [[panel["title"], panel.get("targets")] for panel in DASHBOARDS[uid]["panels"]]
