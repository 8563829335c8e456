"""Workers: which process is it?"""

from __future__ import annotations

from taskctx.telemetry.names import (
    BUILD_INFO,
    CRYPTO_OPERATIONS,
    ENCRYPTION_KEY_INFO,
    RESTORE_DURATION,
    RESTORE_FAILURES,
    RESTORES,
    SAVE_FAILURES,
    SAVES,
    SCHEMA_VERSION,
    UNRESTORED_READS,
    Metric,
)

from .colors import ALARM, BAD, GOOD, NONE, WORSE
from .frame import DOWN, FAILED_TRACES, INSTANCE, JOB, KNOWN, LAST_SEEN, PROCESS, ROW_TO_WORKER, TO_WORKER, WORKERS
from .model import Column, Dashboard, Panel, Query, Row
from .promql import RANGE, RATE, has_counted, increase, or_none, quantile, rate, ratio, series, started, sum_by
from .recording import COUNTED, FAILED, unsaved

_NO_RESTORES = "no data: no restores in this time range"
_NO_PROCESS = "no data: no process exposes taskctx metrics"
_NO_KEYS = "no data: no process has encryption keys"

_OPENED = ('operation="open"', *PROCESS)
_WRITES = 'bound="write"'
_READS, _OLDEST_READS = 'bound="read_max"', 'bound="read_min"'
_UP = f"up{{{JOB}, {INSTANCE}}} and on (job, instance) {KNOWN}"
_BUILD = series(BUILD_INFO, *PROCESS)
_RAN_LAST = f"topk by (job, instance) (1, max_over_time(timestamp({_BUILD})[{LAST_SEEN}:1m]))"
_VERSIONS_BY_PROCESS = f"{_BUILD} or ({_RAN_LAST} and on (job, instance) {DOWN})"
"""The versions of all processes, also the last version of a process that is down."""

_RECENTLY = "5m"
_STARTED = started("instance", rate, RATE, *PROCESS)


def _recent(metric: Metric, outcome: str, name: str) -> Query:
    return Query(sum_by("job, instance", increase(series(metric, outcome, *PROCESS), _RECENTLY)), name=name)


def _failures(metric: Metric, window: str, name: str) -> Query:
    return Query(sum_by("instance, reason", increase(series(metric, *PROCESS), window)) + " > 0", name=name)


_FLEET = Row(
    "Fleet",
    (
        Panel(
            "table",
            "Processes, last 5 min",
            "One row a process; those that are down first, then those that fail: submissions not saved, callers lost in restores. Good: all up, no failures, one version, restores spread evenly. "
            "Red: look into that process's log; click its name to see it alone.",
            "locale",
            _NO_PROCESS,
            (
                Query(f"count by (job, instance, version, docket_version, python_version) ({_VERSIONS_BY_PROCESS})"),
                Query(f"max by (job, instance) ({_UP})", name="State"),
                _recent(RESTORES, FAILED, "Lost"),
                Query(unsaved("job, instance", increase, _RECENTLY, *PROCESS), name="Unsaved"),
                _recent(RESTORES, COUNTED, "Restores"),
                _recent(SAVES, 'outcome="ok"', "Saves"),
            ),
            width=18,
            height=9,
            decimals=0,
            columns=(
                Column("State", words=(("0", "down", BAD), ("1", "up", "transparent")), width=70),
                Column("job"),
                Column("instance", links=(ROW_TO_WORKER,)),
                Column("Lost", thresholds=ALARM),
                Column("Unsaved", thresholds=ALARM),
                Column("Restores"),
                Column("Saves"),
                Column("version", "taskctx"),
                Column("docket_version", "Docket"),
                Column("python_version", "Python"),
            ),
            sort=("State", "-Unsaved", "-Lost"),
        ),
        Panel(
            "timeseries",
            "Processes that answer",
            "By job, to the scrape. Good: as many as deployed, flat. A dip: crashes or restarts; see TaskCtxTargetDown.",
            "short",
            _NO_PROCESS,
            (Query(f"sum by (job) ({_UP})", "{{job}}"),),
            width=6,
            is_filled=False,
        ),
    ),
)

_RESTORING = Row(
    "Restoring, by instance",
    (
        Panel(
            "timeseries",
            "Failure ratio by instance",
            "Share of each process's restores that failed. Good: 0. One line apart from the rest: that worker's keys, version or way "
            "to Redis. All lines together: the data or Redis.",
            "percentunit",
            _NO_RESTORES,
            (
                Query(
                    or_none(
                        ratio(
                            sum_by("instance", rate(series(RESTORES, FAILED, *PROCESS), RATE)),
                            sum_by("instance", rate(series(RESTORES, COUNTED, *PROCESS), RATE)),
                        ),
                        "instance",
                        *PROCESS,
                    ),
                    "{{instance}}",
                ),
            ),
            thresholds=((None, "transparent"), (0.05, "red")),
            is_filled=False,
            colors=(NONE,),
            links=(TO_WORKER, FAILED_TRACES),
        ),
        Panel(
            "timeseries",
            "Restore p99 by instance",
            "Slowest 1 % of each process's restores. Good: alike. One apart: a busy event loop or a slow network there.",
            "s",
            _NO_RESTORES,
            (
                Query(
                    quantile(0.99, "instance", series(RESTORE_DURATION, *PROCESS, suffix="_bucket"), RATE),
                    "{{instance}}",
                ),
            ),
            links=(TO_WORKER,),
        ),
        Panel(
            "timeseries",
            "Share of work",
            "Which part of all restores each process does. Good: alike for workers of one size.",
            "percentunit",
            _NO_RESTORES,
            (
                Query(
                    sum_by("instance", rate(series(RESTORES, COUNTED, *PROCESS), RATE))
                    + "\n/ ignoring (instance) group_left ()\n"
                    + f"({sum_by('', rate(series(RESTORES, COUNTED, *PROCESS), RATE))} > 0)",
                    "{{instance}}",
                ),
            ),
            stacked=True,
            maximum=1,
            links=(TO_WORKER,),
        ),
        Panel(
            "table",
            "Failures by instance and reason",
            "Restores that failed or were degraded (ran without the token or a carried value) and submissions that were not saved, in the time range and, red, in the last 5 minutes. Good: none. One instance with decrypt_unknown_key: it lacks a key. One with "
            "schema_unsupported: it is older than the submitters. One whose saves fail: its way to Redis. All alike: the data or Redis.",
            "locale",
            _NO_PROCESS,
            (
                Query(
                    or_none(
                        f"({has_counted('instance, reason', series(RESTORE_FAILURES, *PROCESS), RANGE)})",
                        "instance",
                        *PROCESS,
                    ),
                    name="Failed",
                ),
                _failures(RESTORE_FAILURES, _RECENTLY, "Failed, 5 min"),
                _failures(SAVE_FAILURES, RANGE, "Unsaved"),
                _failures(SAVE_FAILURES, _RECENTLY, "Unsaved, 5 min"),
            ),
            decimals=0,
            columns=(
                Column("instance", links=(ROW_TO_WORKER,)),
                Column("reason", width=140),
                Column("Failed", width=80),
                Column("Failed, 5 min", thresholds=ALARM, width=120),
                Column("Unsaved", width=85),
                Column("Unsaved, 5 min", thresholds=ALARM, width=130),
            ),
            sort=("-Unsaved, 5 min", "-Failed, 5 min"),
            width=12,
            height=10,
        ),
        Panel(
            "timeseries",
            "Coverage",
            "Share of each process's task runs that taskctx looked at, those without a context too. Good: 1. One apart at 0: it was started "
            "without worker_dependencies, see TaskCtxCoverageLow.",
            "percentunit",
            "no data: Docket's own metrics are not scraped, or no task ran",
            (
                Query(
                    ratio(
                        f"({sum_by('instance', rate(series(RESTORES, *PROCESS), RATE))} or 0 * {_STARTED})", _STARTED
                    ),
                    "{{instance}}",
                ),
            ),
            thresholds=((None, "transparent"), (0.99, "red")),
            is_filled=False,
            width=6,
            links=(TO_WORKER,),
        ),
        Panel(
            "timeseries",
            "Callers asked for and never restored",
            "Runs whose body asked for its caller in a worker that restores none, since it started. Good: zero. Above: each saw an anonymous "
            "caller, or failed; start that worker with worker_dependencies.",
            "short",
            _NO_PROCESS,
            (
                Query(
                    or_none(sum_by("instance", series(UNRESTORED_READS, *PROCESS)), "instance", *PROCESS),
                    "{{instance}}",
                ),
            ),
            colors=(NONE,),
            width=6,
            links=(TO_WORKER,),
        ),
    ),
)

_KEYS = f"count by (job, instance, key_id) ({series(ENCRYPTION_KEY_INFO, *PROCESS)})"

_VERSIONS = Row(
    "Versions and keys",
    (
        Panel(
            "timeseries",
            "Versions",
            "Processes by version of taskctx. Good: one, and two for the length of a deploy.",
            "short",
            _NO_PROCESS,
            (Query(f"count by (version) ({series(BUILD_INFO, *PROCESS)})", "{{version}}"),),
            stacked=True,
        ),
        Panel(
            "stat",
            "Schema skew",
            "How far a schema that is written somewhere lies outside of those that every process reads. Good: 0 or less. Above 0: tasks of "
            "the new submitters run without context on the old workers: upgrade the workers. Or the submitters are too old for them.",
            "short",
            _NO_PROCESS,
            (
                Query(
                    f"max({series(SCHEMA_VERSION, _WRITES, *PROCESS)}) - "
                    f"min({series(SCHEMA_VERSION, _READS, *PROCESS)}) > 0\nor\n"
                    f"max({series(SCHEMA_VERSION, _OLDEST_READS, *PROCESS)}) - "
                    f"min({series(SCHEMA_VERSION, _WRITES, *PROCESS)})",
                    instant=True,
                ),
            ),
            thresholds=((None, GOOD), (1.0, BAD)),
        ),
        Panel(
            "timeseries",
            "Opened by key",
            "Sealed snapshots opened, by key id: how far a rotation has come. Good: the new key rises, the old one falls to 0, and none "
            "is unknown (a key that this process lacks).",
            "ops",
            _NO_KEYS,
            (
                Query(sum_by("key_id", rate(series(CRYPTO_OPERATIONS, *_OPENED, 'outcome="ok"'), RATE)), "{{key_id}}"),
                Query(
                    sum_by("key_id", rate(series(CRYPTO_OPERATIONS, *_OPENED, FAILED), RATE)) + " > 0",
                    "{{key_id}} failed",
                ),
            ),
            colors=(("/ failed$/", BAD),),
        ),
        Panel(
            "table",
            "Processes lacking a key",
            "Processes without an encryption key that others have, as in the midst of a rotation. Good: empty. Each listed process fails the tasks sealed with that "
            "key: give it the key before any submitter seals with it.",
            "short",
            _NO_PROCESS,
            (
                Query(
                    or_none(
                        f"(count(count by (key_id) ({_KEYS}))\n- on () group_right ()\n"
                        f"(count by (job, instance) ({_KEYS}) or 0 * count by (job, instance) ({_BUILD})))",
                        "instance",
                        *PROCESS,
                    ),
                    name="Keys it lacks",
                ),
            ),
            columns=(
                Column("instance", links=(ROW_TO_WORKER,)),
                Column("job"),
                Column("Keys it lacks", thresholds=((None, "transparent"), (1.0, WORSE))),
            ),
            sort=("-Keys it lacks",),
            width=24,
            height=6,
        ),
    ),
)

DASHBOARD = Dashboard(
    WORKERS,
    "taskctx / Workers",
    "Which process loses contexts, lags in version or lacks a key?",
    (_FLEET, _RESTORING, _VERSIONS),
    variables=("job", "instance"),
)
