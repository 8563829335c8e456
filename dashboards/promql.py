"""Small pieces of PromQL that expressions are put together from."""

from __future__ import annotations

from collections.abc import Callable

from taskctx.telemetry.names import BUILD_INFO, Metric

DOCKET_TASKS_STARTED = "docket_tasks_started_total"
"""Docket's own counter of the runs that began."""

DOCKET_QUEUE_DEPTH, DOCKET_SCHEDULE_DEPTH = "docket_queue_depth", "docket_schedule_depth"
"""Docket's own gauges of tasks that are due or run, and of tasks that are scheduled ahead; each worker sets them."""

PROCESS_STARTED = "process_start_time_seconds"
"""The time when a process started, from prometheus_client; missing in its multiprocess mode."""


RATE, RANGE = "$__rate_interval", "$__range"
"""Grafana's own windows: for a rate, at least four scrapes; and what the reader has chosen."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def series(metric: Metric | str, *matchers: str, suffix: str = "") -> str:
    """A selector: ``series(RESTORES, 'outcome="failed"')``; a histogram's parts by suffix (``_bucket``, ``_count``)."""
    name = (metric if isinstance(metric, str) else metric.name) + suffix
    return f"{name}{{{', '.join(matchers)}}}" if matchers else name


def rate(selector: str, window: str) -> str:
    return f"rate({selector}[{window}])"


def increase(selector: str, window: str) -> str:
    return f"increase({selector}[{window}])"


def sum_by(labels: str, expression: str) -> str:
    return f"sum by ({labels}) ({expression})" if labels else f"sum({expression})"


def started(labels: str, function: Callable[[str, str], str], window: str, *matchers: str) -> str:
    """Task runs that began, by workers that are scraped: a collector brings the same ones under another name."""
    return sum_by(labels, function(series(DOCKET_TASKS_STARTED, *matchers), window) + " and on (job, instance) up")


def has_counted(labels: str, selector: str, window: str) -> str:
    """The growth of a counter in a window, if it grew.

    Of a process that is younger, all that it counted: what it counted before its first scrape is no increase.
    """
    seconds = "$__range_s" if window == RANGE else int(window[:-1]) * _SECONDS[window[-1]]
    young = f"{selector} and on (job, instance) time() - {PROCESS_STARTED} < {seconds}"
    return f"{sum_by(labels, increase(selector, window))} > 0\nor\n{sum_by(labels, young)} > 0"


def ratio(part: str, whole: str) -> str:
    """``part / whole``; no series (instead of NaN) where the whole is zero."""
    return f"{part}\n/\n({whole} > 0)"


def or_none(expression: str, label: str, *process: str, evidence: str = "") -> str:
    """The series above zero; without any, a zero with the label value ``none``, if there is a process that could count.

    That is a process that the matchers ``process`` choose, or a series of ``evidence``: without any, nothing is shown.
    """
    witness = evidence or _scraped(*process)
    return f'{expression} > 0\nor on () label_replace(0 * count({witness}), "{label}", "none", "", "")'


def or_zero(expression: str, *process: str) -> str:
    """A number, which is zero only if there is a process to say so."""
    return f"{expression}\nor 0 * count({_scraped(*process)})"


def _scraped(*process: str) -> str:
    """Processes that were scraped twice in Grafana's window: with one sample nothing has a rate, which is no zero."""
    return f"count_over_time({series(BUILD_INFO, *process)}[{RATE}]) > 1"


def quantile(q: float, labels: str, selector: str, window: str) -> str:
    """A quantile of a histogram, by labels."""
    by = f"le, {labels}" if labels else "le"
    return f"histogram_quantile({q}, {sum_by(by, rate(selector, window))})"
