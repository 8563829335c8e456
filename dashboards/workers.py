"""Workers: which process is it?"""

from __future__ import annotations

from taskctx.telemetry.names import (
    BUILD_INFO,
    CRYPTO_OPERATIONS,
    ENCRYPTION_KEY_INFO,
    RESTORE_DURATION,
    RESTORE_FAILURES,
    RESTORES,
    SCHEMA_VERSION,
    UNRESTORED_READS,
)

from .frame import FAILED_TRACES, JOB, PROCESS, ROW_TO_WORKER, TO_WORKER, WORKERS
from .model import Dashboard, Panel, Query, Row
from .promql import DOCKET_TASKS_STARTED, increase, or_none, quantile, rate, ratio, series, sum_by
from .recording import COUNTED, FAILED

RATE = "$__rate_interval"
RANGE = "$__range"
_NO_RESTORES = "no data: no restores in this time range"
_NO_PROCESS = "no data: no process exposes taskctx metrics"
_NO_KEYS = "no data: no process has encryption keys"

_WRITES = 'bound="write"'
_READS = 'bound="read_max"'
_UP = f"up{{{JOB}}} and on (job, instance) {series(BUILD_INFO, *PROCESS)}"

_STARTED = sum_by("instance", rate(series(DOCKET_TASKS_STARTED, *PROCESS), RATE))

_FLEET = Row(
    "Fleet",
    (
        Panel(
            "table",
            "Processes",
            "One row a process. Good: failures 0, one version, restores spread evenly. Click a row to see that process alone.",
            "locale",
            _NO_PROCESS,
            (
                Query(
                    f"max by (job, instance, version, docket_version, python_version) ({series(BUILD_INFO, *PROCESS)})"
                ),
                Query(sum_by("job, instance", increase(series(RESTORES, COUNTED, *PROCESS), RANGE)), name="Restores"),
                Query(sum_by("job, instance", increase(series(RESTORES, FAILED, *PROCESS), RANGE)), name="Failures"),
            ),
            width=16,
            links=(ROW_TO_WORKER,),
            decimals=0,
            columns=("job", "instance", "Failures", "Restores", "version", "docket_version", "python_version"),
        ),
        Panel(
            "timeseries",
            "Up",
            "Processes that answer the scrape. Good: as many as deployed, flat. A dip: crashes or restarts; see TaskCtxTargetDown.",
            "short",
            _NO_PROCESS,
            (Query(f"sum by (job) ({_UP})", "{{job}}"),),
        ),
    ),
)

_RESTORING = Row(
    "Restoring, by instance",
    (
        Panel(
            "timeseries",
            "Failure ratio",
            "Share of each process's restores that failed. Good: 0. One line apart from the rest: that worker's keys, version or way "
            "to Redis. All lines together: the data or Redis.",
            "percentunit",
            _NO_RESTORES,
            (
                Query(
                    ratio(
                        sum_by("instance", rate(series(RESTORES, FAILED, *PROCESS), RATE)),
                        sum_by("instance", rate(series(RESTORES, COUNTED, *PROCESS), RATE)),
                    ),
                    "{{instance}}",
                ),
            ),
            thresholds=((None, "green"), (0.05, "red")),
            at_least=0.1,
            links=(TO_WORKER, FAILED_TRACES),
        ),
        Panel(
            "timeseries",
            "p99",
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
            "timeseries",
            "Failures by instance and reason",
            "Good: zero. One instance with decrypt_unknown_key: it lacks a key. One with schema_unsupported: it is older than the submitters.",
            "ops",
            "0: no failures in this time range",
            (
                Query(
                    or_none(sum_by("instance, reason", rate(series(RESTORE_FAILURES, *PROCESS), RATE)), "reason"),
                    "{{instance}} {{reason}}",
                ),
            ),
            at_least=0.1,
            links=(TO_WORKER,),
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
            thresholds=((None, "red"), (0.99, "green")),
            links=(TO_WORKER,),
        ),
        Panel(
            "timeseries",
            "Callers asked for and never restored",
            "Runs whose body asked for its caller in a worker that restores none. Good: zero. Above: each saw an anonymous caller, or "
            "failed; start that worker with worker_dependencies.",
            "ops",
            "0: none in this time range",
            (Query(sum_by("instance", rate(series(UNRESTORED_READS, *PROCESS), RATE)), "{{instance}}"),),
            at_least=0.1,
            links=(TO_WORKER,),
        ),
    ),
)

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
            "Newest schema written anywhere, less the newest that every process reads. Good: 0 or less. Above 0: tasks of the new "
            "submitters run without context on the old workers; upgrade the workers.",
            "short",
            _NO_PROCESS,
            (
                Query(
                    f"max({series(SCHEMA_VERSION, _WRITES, *PROCESS)}) - "
                    f"min({series(SCHEMA_VERSION, _READS, *PROCESS)})",
                    instant=True,
                ),
            ),
            thresholds=((None, "green"), (1.0, "red")),
        ),
        Panel(
            "timeseries",
            "Opened by key",
            "Sealed snapshots opened, by key id: how far a rotation has come. Good: the new key rises, the old one falls to 0, and none "
            "is unknown (a key that this process lacks).",
            "ops",
            _NO_KEYS,
            (
                Query(
                    sum_by("key_id, outcome", rate(series(CRYPTO_OPERATIONS, 'operation="open"', *PROCESS), RATE)),
                    "{{key_id}} {{outcome}}",
                ),
            ),
            at_least=0.1,
        ),
        Panel(
            "table",
            "Processes lacking a key",
            "Processes without an encryption key that others have. Good: empty. Each listed process fails the tasks sealed with that "
            "key: give it the key before any submitter seals with it.",
            "short",
            "none: every process has every key",
            (
                Query(
                    f"count by (job, instance) ({series(ENCRYPTION_KEY_INFO, *PROCESS)})\n"
                    f"< on () group_left () count(count by (key_id) ({series(ENCRYPTION_KEY_INFO, *PROCESS)}))",
                    name="Keys it has",
                ),
            ),
            links=(ROW_TO_WORKER,),
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
)
