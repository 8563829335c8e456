"""Prometheus's own tool on the rules; and for every alert a case that fires and one that is silent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.build import HERE
from taskctx.telemetry.names import METRICS
from tests.conftest import BACKEND

from .artifacts import ALERTS, PROMTOOL_TESTS
from .promtool import run, with_each_promtool

runs_once = pytest.mark.skipif(BACKEND != "memory", reason="needs no backend: runs with TASKCTX_TEST_BACKEND=memory")


def _cases() -> list[dict[str, Any]]:
    """Every expectation in the test files, with the alert it is of."""
    tests = [test for path in PROMTOOL_TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    return [case for test in tests for case in test["alert_rule_test"]]


@with_each_promtool
@runs_once
def test_the_rules_are_clean(promtool: str) -> None:
    """Syntax, duplicates and promtool's own advice."""
    run(promtool, "check", "rules", "--lint-fatal", *sorted((HERE / "prometheus").glob("*.yaml")))


@with_each_promtool
@runs_once
@pytest.mark.parametrize("path", PROMTOOL_TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path, promtool: str) -> None:
    """Each file in dashboards/prometheus/tests."""
    run(promtool, "test", "rules", path)


@pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda alert: "-".join(filter(None, (alert["alert"], alert["labels"].get("long_window"))))
)
def test_every_alert_has_a_case_that_fires(alert: dict[str, Any]) -> None:
    """With its own fixed labels, so that each of the four burn rates has one."""
    expected = [fired for case in _cases() if case["alertname"] == alert["alert"] for fired in case["exp_alerts"]]
    assert any(alert["labels"].items() <= fired["exp_labels"].items() for fired in expected)


@pytest.mark.parametrize("path", PROMTOOL_TESTS, ids=lambda path: path.stem)
def test_the_input_has_the_labels_that_processes_give(path: Path) -> None:
    """With fewer, series differ that in truth are the same to ``or``, ``and`` and ``unless``."""
    given = [each["series"] for test in yaml.safe_load(path.read_text())["tests"] for each in test["input_series"]]
    labels = {f"{metric.name}{suffix}": metric.labels for metric in METRICS for suffix in ("", "_bucket", "_count")}
    lacking = [
        (series, label)
        for series in given
        for label in labels.get(series.partition("{")[0], ())
        if not re.search(rf'\b{label}="', series)
    ]
    assert lacking == []


@pytest.mark.parametrize("name", {alert["alert"]: None for alert in ALERTS})
def test_every_alert_has_a_case_that_is_silent(name: str) -> None:
    """In a test of its own, not only before the alert has waited long enough."""
    silent = [
        test
        for path in PROMTOOL_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        if test["name"].startswith("silent - ") and any(case["alertname"] == name for case in test["alert_rule_test"])
    ]
    assert silent


def test_firing_cases_check_every_annotation() -> None:
    """promtool compares all of them or none."""
    fired = [each for case in _cases() for each in case["exp_alerts"]]
    assert fired
    for each in fired:
        assert set(each["exp_annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
