"""What panels show, by Prometheus's own engine (promtool) on series that are written down here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import overview, registries, slo, workers
from dashboards.model import Panel, Query
from tests.conftest import BACKEND

from .promtool import MISSING, PROMTOOLS, run

BOARDS = (overview.DASHBOARD, workers.DASHBOARD, registries.DASHBOARD, slo.DASHBOARD)
ALL = {"$job": ".*", "$instance": ".*", "$docket": ".*", "$registry": ".*"}
WINDOWS = {"$__rate_interval": "1m", "$__interval": "1m", "$__range_s": "21600", "$__range": "6h"}
PROCESSES = {'up{job="w", instance="a"}': "1x80", 'taskctx_build_info{job="w", instance="a", version="1"}': "1x80"}
"""One, that answers."""

pytestmark = [
    pytest.mark.skipif(not any(PROMTOOLS.values()), reason=MISSING["installed"]),
    pytest.mark.skipif(BACKEND != "memory", reason="needs no backend: runs with TASKCTX_TEST_BACKEND=memory"),
]

Samples = Mapping[str, float]
"""Numbers by labels, written as ``{job="w"}``."""


def panel(board: Any, title: str) -> Panel:
    return next(each for each in board.panels if each.title == title)


def query(board: Any, title: str, name: str = "") -> Query:
    return next(each for each in panel(board, title).queries if not name or name in {each.name, each.legend})


def expectation(query: Query, at: str, expected: Samples, **chosen: str) -> dict[str, Any]:
    expr = query.expr
    for variable, value in {**ALL, **{f"${name}": value for name, value in chosen.items()}, **WINDOWS}.items():
        expr = expr.replace(variable, value)
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    # what Prometheus extrapolates to 1 can be 0.9999999999999999
    return {"expr": f"round({expr}, 0.001)", "eval_time": at, "exp_samples": samples}


def shows(board: Any, title: str, at: str, expected: Samples, name: str = "") -> dict[str, Any]:
    """Of the panel of this title, on the dashboard of a module."""
    return expectation(query(board.DASHBOARD, title, name), at, expected)


def check(folder: Path, series: Mapping[str, str], *expectations: dict[str, Any]) -> None:
    """The queries give what is expected, of series whose samples are a quarter of a minute apart."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "15s", "input_series": inputs, "promql_expr_test": list(expectations)}
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    for promtool in filter(None, PROMTOOLS.values()):
        run(promtool, "test", "rules", path)


def test_without_a_process_no_panel_shows_anything(tmp_path: Path) -> None:
    """No query returns a value: a zero would look as if all was well."""
    queries = [query for board in BOARDS for panel in board.panels for query in panel.queries]
    check(tmp_path, {}, *(expectation(query, "10m", {}) for query in queries))


def test_a_process_that_is_well_says_so(tmp_path: Path) -> None:
    """What shows nothing without a process is a zero, or a none, with one."""
    rules = {'job_docket:taskctx_restores:increase1h{job="w", docket_name="orders"}': "9x80"}
    check(
        tmp_path,
        PROCESSES | rules,
        shows(overview, "Processes down, all dockets", "10m", {"{}": 0}),
        shows(overview, "Failing now", "10m", {"{}": 0}),
        shows(overview, "Failures by reason", "10m", {'{reason="none"}': 0}),
        shows(overview, "Save failures by reason", "10m", {'{reason="none"}': 0}),
        shows(overview, "Failing tasks", "10m", {'{docket_task="none"}': 0}),
        shows(overview, "Firing alerts", "10m", {'{alertname="none"}': 0}),
        shows(workers, "Processes lacking a key", "10m", {'{instance="none"}': 0}),
    )


def test_one_that_is_chosen_does_not_speak_for_another(tmp_path: Path) -> None:
    """No process of the chosen name: no all-clear, though another process is well."""
    panels = [panel for panel in overview.DASHBOARD.panels if panel.title != "Firing alerts"]
    queries = [query for panel in panels for query in panel.queries if "$instance" in query.expr]
    check(tmp_path, PROCESSES, *(expectation(query, "10m", {}, instance="gone") for query in queries))


def test_a_window_too_short_for_the_scrapes_gives_no_all_clear(tmp_path: Path) -> None:
    """Scraped once a minute, behind a data source that says every 15 s: no rate has two samples, whatever fails."""
    of = 'job="w", instance="a", docket_name="orders"'
    failing = " ".join(f"{each} _ _ _" for each in range(0, 1200, 60))
    series = {
        'up{job="w", instance="a"}': "1 _ _ _ " * 20,
        'taskctx_build_info{job="w", instance="a", version="1"}': "1 _ _ _ " * 20,
        f'taskctx_restores_total{{{of}, outcome="failed"}}': failing,
        f'taskctx_captures_total{{{of}, outcome="failed"}}': failing,
        f'taskctx_saves_total{{{of}, outcome="failed"}}': failing,
        f'taskctx_restore_failures_total{{{of}, reason="missing"}}': failing,
        f'taskctx_save_failures_total{{{of}, reason="backend_error"}}': failing,
    }
    titles = ("Failing now", "Failures by reason", "Save failures by reason")
    check(tmp_path, series, *(shows(overview, title, "10m30s", {}) for title in titles))


def test_what_failed_before_the_first_scrape_is_named(tmp_path: Path) -> None:
    """It is no increase, but the process is younger than the time range; one that is older counts as before."""
    series: dict[str, str] = dict(PROCESSES)
    for instance, started in (("a", "-86400x80"), ("b", "285x80")):
        of = f'job="w", instance="{instance}", docket_name="orders"'
        series[f'taskctx_task_restore_failures_total{{{of}, docket_task="{instance}"}}'] = "_x20 3x60"
        series[f'taskctx_restore_failures_total{{{of}, reason="malformed"}}'] = "_x20 3x60"
        series[f'process_start_time_seconds{{job="w", instance="{instance}"}}'] = started
    by_task, by_reason = '{docket_name="orders", docket_task="b"}', '{instance="b", reason="malformed"}'
    check(
        tmp_path,
        series,
        shows(overview, "Failing tasks", "10m", {by_task: 3}, name="Failures"),
        shows(workers, "Failures by instance and reason", "10m", {by_reason: 3}, name="Failed"),
    )


def test_a_dead_process_is_seen(tmp_path: Path) -> None:
    """In red, and on top of the table, with the version that it ran last; as long as others are well, too."""
    dead = {
        'up{job="w", instance="b"}': "1x20 0x60",
        'taskctx_build_info{job="w", instance="b", version="1"}': "1x20 stale",
    }
    table = "Processes, last 5 min"
    versions = panel(workers.DASHBOARD, table).queries[0]
    rows = {'{job="w", instance="a", version="1"}': 1, '{job="w", instance="b", version="1"}': 1}
    check(
        tmp_path,
        PROCESSES | dead,
        shows(overview, "Processes down, all dockets", "4m", {"{}": 0}),
        shows(overview, "Processes down, all dockets", "6m", {"{}": 1}),
        shows(overview, "Processes down, all dockets", "20m", {"{}": 1}),
        shows(workers, table, "20m", {'{job="w", instance="a"}': 1, '{job="w", instance="b"}': 0}, name="State"),
        expectation(versions, "20m", rows),
    )


def test_a_process_that_died_after_a_deploy_is_one_row(tmp_path: Path) -> None:
    """With the version that it ran last; two rows would be two dead processes."""
    dead = {
        'up{job="w", instance="b"}': "1x40 0x40",
        'taskctx_build_info{job="w", instance="b", version="1"}': "1x20 stale",
        'taskctx_build_info{job="w", instance="b", version="2"}': "_x20 1x20 stale",
        # a pod that a deploy took away is no target any more
        'taskctx_build_info{job="w", instance="c", version="1"}': "1x20 stale",
    }
    versions = panel(workers.DASHBOARD, "Processes, last 5 min").queries[0]
    rows = {'{job="w", instance="a", version="1"}', '{job="w", instance="b", version="2"}'}
    check(tmp_path, PROCESSES | dead, expectation(versions, "20m", dict.fromkeys(rows, 1)))


def test_a_process_whose_saves_fail_is_seen(tmp_path: Path) -> None:
    """In the first row, by its share; and by name in the table of processes."""
    saves = {
        'taskctx_saves_total{job="w", instance="a", docket_name="orders", outcome="ok"}': "0+45x80",
        'taskctx_saves_total{job="w", instance="a", docket_name="orders", outcome="failed"}': "0x80",
        'taskctx_saves_total{job="w", instance="b", docket_name="orders", outcome="ok"}': "0x80",
        'taskctx_saves_total{job="w", instance="b", docket_name="orders", outcome="failed"}': "0+15x80",
    }
    saves |= {series.replace("saves", "captures"): "0x80" for series in saves if "failed" in series}
    unsaved = {'{job="w", instance="a"}': 0, '{job="w", instance="b"}': 300}
    check(
        tmp_path,
        PROCESSES | saves,
        shows(overview, "Submissions saved, last 5 min", "10m", {"{}": 0.75}),
        shows(workers, "Processes, last 5 min", "10m", unsaved, name="Unsaved"),
    )


def test_a_process_that_cannot_capture_is_seen(tmp_path: Path) -> None:
    """Nothing comes to be saved there, so no save fails; and each of its submissions is refused all the same."""
    of = 'job="w", instance="a", docket_name="orders"'
    submissions = {
        f'taskctx_captures_total{{{of}, outcome="ok"}}': "0x80",
        f'taskctx_captures_total{{{of}, outcome="failed"}}': "0+15x80",
        f'taskctx_saves_total{{{of}, outcome="ok"}}': "0x80",
        f'taskctx_saves_total{{{of}, outcome="failed"}}': "0x80",
        f'taskctx_restores_total{{{of}, outcome="failed"}}': "0x80",
    }
    check(
        tmp_path,
        PROCESSES | submissions,
        shows(overview, "Submissions saved, last 5 min", "10m", {"{}": 0}),
        shows(overview, "Failing now", "10m", {"{}": 1}),
        shows(overview, "Save failures by reason", "10m", {"{}": 1}, name="not captured"),
        shows(workers, "Processes, last 5 min", "10m", {'{job="w", instance="a"}': 300}, name="Unsaved"),
    )


def test_over_is_told_from_on(tmp_path: Path) -> None:
    """A minute after the last failure nothing fails now, and after five minutes nothing is red, whatever the time range."""
    of = 'job="w", instance="a", docket_name="orders"'
    restores = {
        f'taskctx_restores_total{{{of}, outcome="ok"}}': "0+15x80",
        f'taskctx_restores_total{{{of}, outcome="failed"}}': "0+15x20 300x60",
        f'taskctx_saves_total{{{of}, outcome="failed"}}': "0x80",
        f'taskctx_captures_total{{{of}, outcome="failed"}}': "0x80",
        f'taskctx_restore_failures_total{{{of}, reason="missing"}}': "0+15x20 300x60",
    }
    restored = query(overview.DASHBOARD, "Contexts restored, last 5 min")
    failing, reasons = query(overview.DASHBOARD, "Failing now"), query(overview.DASHBOARD, "Failures by reason")
    check(
        tmp_path,
        PROCESSES | restores,
        expectation(restored, "5m", {"{}": 0.5}),
        expectation(failing, "5m", {"{}": 1}),
        expectation(reasons, "5m", {'{reason="missing"}': 1}),
        expectation(failing, "6m30s", {"{}": 0}),
        expectation(reasons, "6m30s", {'{reason="none"}': 0}),
        expectation(restored, "10m30s", {"{}": 1}),
    )


def test_firing_alerts_are_named(tmp_path: Path) -> None:
    """With what they are about; those that are pending, or informational, are not among them."""
    alerts = {
        'ALERTS{alertname="TaskCtxSaveErrors", alertstate="firing", severity="critical", job="w"}': "1x80",
        'ALERTS{alertname="TaskCtxTargetDown", alertstate="firing", severity="critical", job="w", instance="b"}': "1x80",
        'ALERTS{alertname="TaskCtxRestoreSlow", alertstate="pending", severity="warning", job="w"}': "1x80",
        'ALERTS{alertname="TaskCtxVersionSkew", alertstate="firing", severity="info", job="w"}': "1x80",
    }
    names = {
        '{alertname="TaskCtxSaveErrors", severity="critical", concerns="w"}': 1,
        '{alertname="TaskCtxTargetDown", severity="critical", concerns="b   w"}': 1,
    }
    check(tmp_path, PROCESSES | alerts, shows(overview, "Firing alerts", "10m", names))


def test_processes_that_lack_a_key_are_named(tmp_path: Path) -> None:
    """One that has no key at all is among them."""
    keys = {
        'taskctx_build_info{job="w", instance="b"}': "1x80",
        'taskctx_build_info{job="w", instance="c"}': "1x80",
        'taskctx_encryption_key_info{job="w", instance="a", key_id="old", role="primary"}': "1x80",
        'taskctx_encryption_key_info{job="w", instance="a", key_id="new", role="secondary"}': "1x80",
        'taskctx_encryption_key_info{job="w", instance="b", key_id="old", role="primary"}': "1x80",
    }
    lacking = {'{job="w", instance="b"}': 1, '{job="w", instance="c"}': 2}
    check(tmp_path, PROCESSES | keys, shows(workers, "Processes lacking a key", "10m", lacking))


def test_a_docket_on_which_no_worker_restores_is_not_covered(tmp_path: Path) -> None:
    """Its workers have no series of ours for it; the panel is to show 0, and not that there is nothing to show."""
    started = {
        'docket_tasks_started_total{job="w", instance="a", docket_name="orders", docket_task="t"}': "0+15x80",
        'docket_tasks_started_total{job="w", instance="a", docket_name="mail", docket_task="t"}': "0+15x80",
        # by way of a collector
        'docket_tasks_started_total{job="w", instance="pushed", docket_name="mail", docket_task="t"}': "0+15x80",
        'taskctx_restores_total{job="w", instance="a", docket_name="mail", outcome="ok"}': "0+15x80",
    }
    coverage = {'{docket_name="orders"}': 0, '{docket_name="mail"}': 1}
    by_process = {'{instance="a"}': 0.5}
    check(
        tmp_path,
        PROCESSES | started,
        shows(overview, "Coverage", "10m", coverage),
        shows(workers, "Coverage", "10m", by_process),
    )


def test_a_schema_too_old_to_be_read_is_a_skew(tmp_path: Path) -> None:
    """As one that is too new is: a submitter writes 1, and the workers read 2 and 3."""
    schemas = {
        'taskctx_snapshot_schema_version{job="w", instance="a", bound="write"}': "1x80",
        'taskctx_snapshot_schema_version{job="w", instance="a", bound="read_min"}': "1x80",
        'taskctx_snapshot_schema_version{job="w", instance="a", bound="read_max"}': "3x80",
        'taskctx_snapshot_schema_version{job="w", instance="b", bound="write"}': "3x80",
        'taskctx_snapshot_schema_version{job="w", instance="b", bound="read_min"}': "2x80",
        'taskctx_snapshot_schema_version{job="w", instance="b", bound="read_max"}': "3x80",
    }
    check(tmp_path, PROCESSES | schemas, shows(workers, "Schema skew", "10m", {"{}": 1}))
    well = {series: values for series, values in schemas.items() if 'instance="b"' in series}
    check(tmp_path, PROCESSES | well, shows(workers, "Schema skew", "10m", {"{}": -1}))


def test_a_budget_that_is_gone_does_not_run_off_the_axis(tmp_path: Path) -> None:
    """Half of all restores failed: -49,900 % would be, and -100 % is shown."""
    of = 'job="w", instance="a", docket_name="orders"'
    restores = {
        f'taskctx_restores_total{{{of}, outcome="ok"}}': "0+15x80",
        f'taskctx_restores_total{{{of}, outcome="failed"}}': "0+15x80",
    }
    for title in ("Error budget left", "Error budget over time"):
        check(tmp_path, restores, expectation(query(slo.DASHBOARD, title), "10m", {'{docket_name="orders"}': -1}))


def test_a_docket_that_is_chosen_shows_nothing_of_another(tmp_path: Path) -> None:
    """One is broken in every way there is, and the other, which is well, is chosen."""
    series: dict[str, str] = dict(PROCESSES)
    for docket in ("broken", "well"):
        of = f'job="w", instance="a", docket_name="{docket}"'
        failing, going = ("0+15x80", "0x80") if docket == "broken" else ("0x80", "0+15x80")
        for metric in ("restores", "saves"):
            series[f'taskctx_{metric}_total{{{of}, outcome="ok"}}'] = going
            series[f'taskctx_{metric}_total{{{of}, outcome="failed"}}'] = failing
        series[f'taskctx_restore_failures_total{{{of}, reason="missing"}}'] = failing
        series[f'taskctx_save_failures_total{{{of}, reason="backend_error"}}'] = failing
        series[f'taskctx_task_restore_failures_total{{{of}, docket_task="{docket}_task"}}'] = failing
        series[f'taskctx_captures_total{{{of}, outcome="ok"}}'] = "0+15x80"
        series[f'taskctx_captures_total{{{of}, outcome="failed"}}'] = "0x80"
        series[f'taskctx_anonymous_submissions_total{{{of}, meant="no"}}'] = failing
    shown: dict[str, Samples] = {
        "Contexts restored, last 5 min": {"{}": 1},
        "Submissions saved, last 5 min": {"{}": 1},
        "Without a caller, last 5 min": {"{}": 0},
        "Failing now": {"{}": 0},
        "Failing tasks": {'{docket_task="none"}': 0},
        "Failures by reason": {'{reason="none"}': 0},
        "Save failures by reason": {'{reason="none"}': 0},
        "Restores by outcome": {'{outcome="ok"}': 1},
        "Saves": {'{outcome="ok"}': 1},
    }
    chosen = [
        expectation(query(overview.DASHBOARD, title), "10m", samples, docket="well") for title, samples in shown.items()
    ]
    worst = shows(overview, "Without a caller, last 5 min", "10m", {"{}": 1})
    failing_tasks = query(overview.DASHBOARD, "Failing tasks", "Last 5 min")
    of_all = expectation(failing_tasks, "10m", {'{docket_name="broken", docket_task="broken_task"}': 300})
    check(tmp_path, series, *chosen, worst, of_all)
