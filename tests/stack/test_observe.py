"""``make observe-check``: the dashboards, rules and alerts on a real Prometheus and a real Alertmanager.

One run is played (see :mod:`tests.stack.scenario`), and every test looks at it afterwards.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest
import yaml

from dashboards import frame, overview, registries, slo, workers
from dashboards.model import Panel, Query, Variable
from taskctx.telemetry.names import (
    RESTORE_DURATION,
    RESTORE_FAILURES,
    RESTORES,
    SAVE_DURATION,
    SAVE_FAILURES,
    SAVES,
    TASK_RESTORE_FAILURES,
)
from tests.secrets import MARKER
from tests.stack.programs import orderly_end, program
from tests.stack.prometheus import COMMITTED, RULES, Labels, with_variables
from tests.stack.scenario import JOBS, MUTED, NOTIFIED, TARGET_DOWN, Run, observed_run

pytestmark = pytest.mark.stack

DASHBOARDS = (overview.DASHBOARD, workers.DASHBOARD, registries.DASHBOARD, slo.DASHBOARD)
"""Not from dashboards.build, which needs Grafana's SDK: this is collected in every test run."""

EMPTY = {
    "not captured": "every caller of this run can be captured",
    "not scheduled: {{reason}}": "Docket schedules whatever is saved in this run",
    "without {{command}}": "the server refuses no command",
    "{{key_id}}": "no process of this run has encryption keys",
    "{{key_id}} failed": "no process of this run has encryption keys",
}
"""Queries that rightly show nothing here, by their legend, and why."""

PANELS = [
    pytest.param(panel, query, id=f"{board.uid}: {panel.title}: {query.legend or query.name or 'value'}")
    for board in DASHBOARDS
    for panel in board.panels
    for query in panel.queries
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with orderly_end(), observed_run(tmp_path_factory.mktemp("stack")) as run:
        yield run


def test_promtool_accepts_the_configuration_and_the_rules(run: Run) -> None:
    """The rules as committed, and the configuration with the shortened ones."""
    config = run.directory / "prometheus.yml"
    _check(program("promtool"), "check", "rules", "--lint-fatal", *(str(path) for path in RULES))
    _check(program("promtool"), "check", "config", "--lint-fatal", str(config))


def test_amtool_accepts_the_configuration(run: Run) -> None:
    """With the rule that critical mutes warning on the same docket."""
    _check(program("amtool"), "check-config", str(run.directory / "alertmanager.yml"))


def test_every_process_is_scraped(run: Run) -> None:
    """All of them are up in the end, and Prometheus has nothing to say against what they expose."""
    targets = {each["labels"]["instance"]: each for each in run.prometheus.targets()}
    assert set(targets) == {instance for instances in JOBS.values() for instance in instances}
    assert {instance: each["lastError"] for instance, each in targets.items()} == dict.fromkeys(targets, ""), run.logs


def test_no_dashboard_is_left_out() -> None:
    assert {board.uid for board in DASHBOARDS} == {path.stem for path in COMMITTED.glob("grafana/*.json")}


@pytest.mark.parametrize(("panel", "query"), PANELS)
def test_a_panels_query_returns_data(run: Run, panel: Panel, query: Query) -> None:
    """As Grafana would ask at the height of the faults."""
    found = ask(run, panel, query)
    if query.legend in EMPTY:
        assert found == [], f"take it off the list: {EMPTY[query.legend]}"
    else:
        assert found, with_variables(query.expr)


@pytest.mark.parametrize(
    ("title", "label", "expected"),
    [
        ("Failures by reason", "reason", {"missing", "malformed", "credential_expired"}),
        ("Save failures by reason", "reason", {"backend_error"}),
        ("Failing tasks", "docket_task", {"charge", "deliver"}),
        ("Lookups by result", "result", {"hit", "miss", "dead"}),
    ],
)
def test_a_panel_names_the_fault(run: Run, title: str, label: str, expected: set[str]) -> None:
    """What went wrong is told, and nothing else; no line without a name is among them."""
    panel = next(panel for board in DASHBOARDS for panel in board.panels if panel.title == title)
    assert {labels.get(label) for labels, _ in ask(run, panel, panel.queries[0])} == expected


@pytest.mark.parametrize("variable", frame.VARIABLES, ids=lambda variable: variable.name)
def test_a_variables_query_lists_values(run: Run, variable: Variable) -> None:
    assert run.prometheus.label_values(with_variables(variable.query))


@pytest.mark.parametrize("expr", [frame.FIRING_ALERTS, frame.VERSION_CHANGES], ids=["alerts", "versions"])
def test_an_annotations_query_returns_data(run: Run, expr: str) -> None:
    """Alerts fire in the run; and it begins with the change from no version to one."""
    assert run.prometheus.query_range(with_variables(expr), run.began, run.faults_until)


def test_good_traffic_fires_nothing(run: Run) -> None:
    assert run.without_slowness(run.prometheus.fired(run.began, run.faults_from)) == []


def test_the_faults_fire_what_they_deserve_and_nothing_else(run: Run) -> None:
    """From the first scrape to the last, with all labels."""
    fired = run.prometheus.fired(run.began, run.ended)
    assert _in_order(run.without_slowness(fired)) == _in_order([*NOTIFIED, *MUTED, TARGET_DOWN])


def test_the_webhook_is_told_of_what_is_not_muted(run: Run) -> None:
    """Until the faults ended: then the warnings outlast the critical alerts that muted them."""
    assert _in_order(run.without_slowness(run.notified)) == _in_order(NOTIFIED)


def test_critical_mutes_warning_on_the_same_docket(run: Run) -> None:
    """And on no other: the missing snapshots of another docket are told."""
    assert _in_order(run.muted) == _in_order(MUTED)


def test_a_killed_worker_fires(run: Run) -> None:
    assert TARGET_DOWN in run.webhook.firing()


def test_alerts_resolve_when_the_faults_end(run: Run) -> None:
    """With good traffic only and the worker back, Prometheus is quiet, and the webhook knows that all is over."""
    assert run.came_to_rest, run.unresolved()


def test_notifications_are_filled_in(run: Run) -> None:
    """Texts and links have the alert's own labels in them, and no gaps: a label that is not there leaves one."""
    asked_for = {
        rule["alert"]: set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    for alert in run.webhook.alerts:
        name, annotations = alert["labels"]["alertname"], alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
        assert asked_for[name] <= set(alert["labels"])
        assert all(text and "<no value>" not in text for text in annotations.values()), annotations
        assert annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
        link = httpx.URL(annotations["dashboard_url"])
        assert link.path.removeprefix("/d/") in {board.uid for board in DASHBOARDS}
        chosen = dict(link.params)
        labels = {"var-job": "job", "var-docket": "docket_name", "var-instance": "instance", "var-registry": "registry"}
        assert chosen == {variable: alert["labels"][labels[variable]] for variable in chosen}


def test_promtool_has_nothing_against_our_metrics(run: Run) -> None:
    """On every live endpoint.  Docket's metrics are Docket's affair."""
    for url in run.endpoints.values():
        exposed = httpx.get(url).raise_for_status().text
        checked = subprocess.run(
            [program("promtool"), "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
        )
        # 3: it has something to say
        assert checked.returncode in (0, 3), checked.stderr
        complaints = (checked.stdout + checked.stderr).splitlines()
        assert [line for line in complaints if line.startswith("taskctx_")] == []


@pytest.mark.parametrize(
    "name",
    [
        RESTORES.name,
        f"{RESTORE_DURATION.name}_bucket",
        RESTORE_FAILURES.name,
        TASK_RESTORE_FAILURES.name,
        SAVES.name,
        f"{SAVE_DURATION.name}_bucket",
        SAVE_FAILURES.name,
    ],
)
def test_exemplars_lead_to_exported_spans(run: Run, name: str) -> None:
    """Prometheus stores them, and the trace of each is among those that were exported."""
    exemplars = run.prometheus.exemplars(name, run.began, run.ended)
    traces = {exemplar["trace_id"] for exemplar in exemplars}
    assert traces
    assert traces <= run.trace_ids


def test_no_secret_is_exported(run: Run) -> None:
    """Neither in a log nor in a span, nor in what is exposed or stored or sent to a webhook."""
    texts = {
        "logs": run.logs,
        "spans": run.spans,
        "webhook": json.dumps(run.webhook.alerts),
        "metrics": "".join(httpx.get(url).text for url in run.endpoints.values()),
    }
    assert all(texts.values())
    assert [where for where, text in texts.items() if MARKER in text] == []


def ask(run: Run, panel: Panel, query: Query) -> list[tuple[Labels, float]]:
    """The answer to a panel's query at the height of the faults: an instant, or the minute before it."""
    expr = with_variables(query.expr)
    if query.instant or panel.kind == "table":
        return run.prometheus.query(expr, run.faults_until)
    return run.prometheus.query_range(expr, run.faults_from + 10, run.faults_until)


def _check(*command: str) -> None:
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _in_order(alerts: tuple[Labels, ...] | list[Labels]) -> list[list[tuple[str, str]]]:
    return sorted(sorted(labels.items()) for labels in alerts)
