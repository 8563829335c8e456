"""The Prometheus mixin gives the generated files, to people who manage dashboards with jsonnet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dashboards.build import GRAFANA, HERE

from .artifacts import ALERTS, DASHBOARDS, RECORDING_RULES

jsonnet: Any = pytest.importorskip("_jsonnet", reason="needs the PyPI package jsonnet (in the dev group)")


def _evaluate(fields: str, extension: str = "{}") -> Any:
    snippet = f"local mixin = (import 'mixin.libsonnet') + {extension}; {fields}"
    return json.loads(jsonnet.evaluate_snippet("test", snippet, jpathdir=[str(HERE)]))


def test_it_has_every_dashboard() -> None:
    """Under the name of its file."""
    assert _evaluate("mixin.grafanaDashboards") == {f"{uid}.json": board for uid, board in DASHBOARDS.items()}


def test_it_has_every_rule_and_alert() -> None:
    """The mixin has the same rules and alerts as the YAML files."""
    alerts, rules = _evaluate("[mixin.prometheusAlerts, mixin.prometheusRules]")
    assert [rule for group in alerts["groups"] for rule in group["rules"]] == ALERTS
    assert [rule for group in rules["groups"] for rule in group["rules"]] == RECORDING_RULES


def test_it_mixes_with_another() -> None:
    """The dashboards and groups of both mixins are there."""
    other = """{
      grafanaDashboards+:: { 'other.json': {} },
      prometheusAlerts+:: { groups+: [{ name: 'other', rules: [] }] },
      prometheusRules+:: { groups+: [{ name: 'other', rules: [] }] },
    }"""
    dashboards, alerts, rules = _evaluate(
        "[std.objectFields(mixin.grafanaDashboards), mixin.prometheusAlerts.groups, mixin.prometheusRules.groups]",
        other,
    )
    assert len(dashboards) == len(DASHBOARDS) + 1
    assert [group["name"] for group in alerts] == ["taskctx-alerts", "other"]
    assert [group["name"] for group in rules] == ["taskctx-error-ratios", "taskctx-restores", "other"]


def test_links_lead_where_the_config_says() -> None:
    """The alerts' links lead to the configured Grafana and the configured runbooks."""
    config = "{ _config+:: { grafanaUrl: 'https://grafana.example', runbookUrl: 'https://wiki.example' } }"
    [group] = _evaluate("mixin.prometheusAlerts.groups", config)
    for alert in group["rules"]:
        assert alert["annotations"]["dashboard_url"].startswith("https://grafana.example/d/")
        assert alert["annotations"]["runbook_url"] == f"https://wiki.example/{alert['alert']}.md"
    assert GRAFANA not in json.dumps(group)
