"""Recording rules: what alerts and dashboards ask for again and again.

Names follow Prometheus's ``level:metric:operations``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taskctx.telemetry.names import CAPTURES, RESTORE_DURATION, RESTORES, SAVES

from .promql import increase, quantile, rate, ratio, series, sum_by

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
FLOOR_WINDOWS = ("1h", "6h", "1d", "3d")

COUNTED = 'outcome=~"ok|degraded|failed"'
FAILED = 'outcome="failed"'


@dataclass(frozen=True, slots=True)
class RecordingRule:
    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group of rules, evaluated together."""

    name: str
    rules: tuple[RecordingRule, ...]
    interval: str = field(default="30s")


def error_ratio(window: str) -> str:
    """The recorded share of restores that failed; a degraded one counts as good, as the task knew its caller."""
    return f"job_docket:taskctx_restore_errors:ratio_rate{window}"


def restores(window: str) -> str:
    """The recorded number of restores in a window."""
    return f"job_docket:taskctx_restores:increase{window}"


INSTANCE_ERROR_RATIO = "job_instance:taskctx_restore_errors:ratio_rate5m"
RESTORE_P99 = "job:taskctx_restore_duration_seconds:p99_rate5m"

_BY_DOCKET = "job, docket_name"


def unsaved(labels: str, function: Callable[[str, str], str], window: str, *filters: str) -> str:
    """Submissions that lost their context, because it was not captured or not saved."""
    return " + ".join(
        sum_by(labels, function(series(metric, FAILED, *filters), window)) for metric in (CAPTURES, SAVES)
    )


def _ratio(labels: str, window: str) -> str:
    failed = sum_by(labels, rate(series(RESTORES, FAILED), window))
    return ratio(failed, sum_by(labels, rate(series(RESTORES, COUNTED), window)))


GROUPS: tuple[Group, ...] = (
    Group(
        "taskctx-error-ratios",
        tuple(RecordingRule(error_ratio(window), _ratio(_BY_DOCKET, window)) for window in WINDOWS),
    ),
    Group(
        "taskctx-restores",
        (
            *(
                RecordingRule(restores(window), sum_by(_BY_DOCKET, increase(series(RESTORES, COUNTED), window)))
                for window in FLOOR_WINDOWS
            ),
            RecordingRule(INSTANCE_ERROR_RATIO, _ratio("job, instance", "5m")),
            RecordingRule(RESTORE_P99, quantile(0.99, "job", series(RESTORE_DURATION, suffix="_bucket"), "5m")),
        ),
    ),
)
