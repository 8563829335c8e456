"""Part of ``make observe-check``: the dashboards on a Prometheus that has never seen taskctx."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from dashboards import frame, overview, registries, slo, workers
from dashboards.model import Panel, Query, Variable
from taskctx.cli.processes import free_port
from tests.processes.support import Starter
from tests.stack.programs import Patience, orderly_end, program
from tests.stack.prometheus import Prometheus, command, with_variables, write_config

pytestmark = pytest.mark.stack

PANELS = [
    pytest.param(panel, query, id=f"{board.uid}: {panel.title}: {query.legend or query.name or 'value'}")
    for board in (overview.DASHBOARD, workers.DASHBOARD, registries.DASHBOARD, slo.DASHBOARD)
    for panel in board.panels
    for query in panel.queries
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With the committed rules, and nothing to scrape."""
    directory, port = tmp_path_factory.mktemp("empty"), free_port()
    config = write_config(directory, {}, alertmanager_port=free_port())
    with (
        orderly_end(),
        Starter(directory) as start,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client,
    ):
        start(command(program("prometheus"), config, port))
        started = Prometheus(client)
        assert Patience(time.monotonic() + 60).until(started.ready, at_most=60), "Prometheus does not start"
        yield started


@pytest.mark.parametrize(("panel", "query"), PANELS)
def test_a_panel_says_why_it_is_empty(prometheus: Prometheus, panel: Panel, query: Query) -> None:
    """No query is an error or returns a zero, and the panel has a text for this case."""
    expr, now = with_variables(query.expr), time.time()
    shown = prometheus.query(expr) if query.instant else prometheus.query_range(expr, now - 60, now)
    assert shown == []
    assert panel.empty


@pytest.mark.parametrize("variable", frame.VARIABLES, ids=lambda variable: variable.name)
def test_a_variable_has_no_values(prometheus: Prometheus, variable: Variable) -> None:
    """The query of a variable returns no value and is no error."""
    assert prometheus.label_values(with_variables(variable.query)) == []


def test_the_one_alert_that_is_right(prometheus: Prometheus) -> None:
    """That there are no metrics at all; every other is silent."""
    patience = Patience(time.monotonic() + 60)
    assert patience.until(prometheus.firing, at_most=60)
    assert {each["alertname"] for each in prometheus.firing()} == {"TaskCtxMetricsAbsent"}
