"""Shortening must change durations only, and keep their order."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.stack.durations import shorten_rules, shortened
from tests.stack.prometheus import RULES


@pytest.mark.parametrize(
    ("duration", "short"), [("0m", "0s"), ("1s", "1s"), ("30s", "3s"), ("5m", "7s"), ("1h", "15s"), ("3d", "64s")]
)
def test_a_duration_becomes_its_cube_root(duration: str, short: str) -> None:
    """In whole seconds, and none becomes nothing that was something."""
    assert shortened(duration) == short


def test_windows_holds_and_intervals_are_shortened_and_nothing_else() -> None:
    """The names of recorded series and the texts have durations too, and keep them."""
    rules = """
    groups:
    - name: group
      interval: 30s
      rules:
      - record: errors:rate1h
        expr: rate(errors_total{window="1h"}[1h]) > 0.5
      - alert: Errors
        expr: errors:rate1h > 5 and last_over_time(up[6h]) and time() - process_start_time_seconds < 600
        for: 10m
        labels: {long_window: 1h}
        annotations: {summary: of the last 1h}
    """
    assert yaml.safe_load(shorten_rules(rules))["groups"] == [
        {
            "name": "group",
            "interval": "3s",
            "rules": [
                {"record": "errors:rate1h", "expr": 'rate(errors_total{window="1h"}[15s]) > 0.5'},
                {
                    "alert": "Errors",
                    "expr": "errors:rate1h > 5 and last_over_time(up[28s]) and time() - process_start_time_seconds < 8",
                    "for": "8s",
                    "labels": {"long_window": "1h"},
                    "annotations": {"summary": "of the last 1h"},
                },
            ],
        }
    ]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_duration_of_the_committed_rules_is_overlooked(path: Path) -> None:
    """Outside of names, labels and texts nothing counts in minutes, hours or days any more."""
    for group in yaml.safe_load(shorten_rules(path.read_text()))["groups"]:
        for rule in group["rules"]:
            assert not any(unit in window for window in _windows(rule["expr"]) for unit in "mhd"), rule
            assert rule.get("for", "0s").endswith("s")


def _windows(expr: str) -> list[str]:
    """What stands in brackets, and what an ``offset`` is followed by."""
    brackets = [part.split("]")[0] for part in expr.split("[")[1:]]
    return brackets + [part.split()[0] for part in expr.split(" offset ")[1:]]
