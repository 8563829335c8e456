"""Alerts: each says what is lost and where to look, and fires only for a fault that is worth a page.

Written for Prometheus 2.42 and 3.x alike: no integer ``le`` values, no window of one or two samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from taskctx.errors import Reason
from taskctx.telemetry.names import (
    ANONYMOUS_SUBMISSIONS,
    BUILD_INFO,
    CAPTURES,
    CREDENTIAL_TTL_REMAINING,
    CRYPTO_OPERATIONS,
    ENCRYPTION_KEY_INFO,
    INHERITED_CONTEXTS,
    REGISTRY_CAPACITY,
    REGISTRY_ENTRIES,
    REGISTRY_LOOKUPS,
    RESTORE_FAILURES,
    RESTORES,
    SAVE_FAILURES,
    SAVES,
    SCHEDULE_FAILURES,
    SCHEMA_VERSION,
    SNAPSHOT_TTL_REMAINING,
    SWEEPS,
    TRACE_CONTEXTS,
    UNRESTORED_READS,
)

from .promql import (
    DOCKET_QUEUE_DEPTH,
    DOCKET_SCHEDULE_DEPTH,
    has_counted,
    increase,
    quantile,
    rate,
    ratio,
    series,
    started,
    sum_by,
)
from .recording import COUNTED, INSTANCE_ERROR_RATIO, RESTORE_P99, error_ratio, restores

OBJECTIVE = 0.999
"""Share of restores that must not fail, over 30 days."""

BUDGET = round(1 - OBJECTIVE, 6)
FLOOR = 20
"""Restores in the long window below which a burn rate says nothing."""

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule.

    Attributes:
        name: without the ``TaskCtx`` prefix; also the runbook's.
        hold: how long the expression must be true before it fires.
        dashboard: uid of the dashboard to open.
        variables: its variables that the alert's own labels fill.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    dashboard: str
    hold: str = "0m"
    labels: tuple[tuple[str, str], ...] = ()
    variables: tuple[str, ...] = ("job",)


def _burn(factor: float, long: str, short: str, severity: Severity, hold: str) -> Alert:
    threshold = f"{factor:g} * {BUDGET:g}"
    # one failure does not go on; 1.5, as Prometheus extrapolates
    twice = f"\nand {error_ratio(long)} * {restores(long)} > 1.5" if severity == "critical" else ""
    return Alert(
        "RestoreErrorBudgetBurn",
        f"{error_ratio(long)} > ({threshold})\n"
        f"and {error_ratio(short)} > ({threshold})\n"
        f"and {restores(long)} >= {FLOOR}{twice}",
        severity,
        f"Restores on docket {{{{ $labels.docket_name }}}} fail {_faster(factor)} than the error budget allows",
        "{{ $value | humanizePercentage }} of the tasks of the last "
        + long
        + " ran without their caller (or were failed), and it goes on. At this rate a 30-day budget of 0.1 % is gone in "
        + _days(30 / factor)
        + ".",
        "taskctx-slo",
        hold,
        (("long_window", long), ("short_window", short)),
        ("job", "docket"),
    )


def _faster(factor: float) -> str:
    return "faster" if factor == 1 else f"over {factor:g} times faster"


def _days(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"  # noqa: PLR2004


def _share_of_lookups(result: str, labels: str, window: str) -> str:
    return ratio(
        sum_by(labels, rate(series(REGISTRY_LOOKUPS, f'result="{result}"'), window)),
        sum_by(labels, rate(series(REGISTRY_LOOKUPS), window)),
    )


_UNUSABLE = (
    Reason.DECRYPT_UNKNOWN_KEY,
    Reason.DECRYPT_FAILED,
    Reason.PLAINTEXT_REFUSED,
    Reason.MALFORMED,
    Reason.SCHEMA_UNSUPPORTED,
    Reason.SCOPE_MISMATCH,
)
"""A single failure with one of these reasons is a page: load does not cause them."""
_INSTANCE_REGISTRY = "job, instance, registry"
_WRITTEN = series(SCHEMA_VERSION, 'bound="write"')
_NEWEST_READ = series(SCHEMA_VERSION, 'bound="read_max"')
_OLDEST_READ = series(SCHEMA_VERSION, 'bound="read_min"')
_PRIMARY = series(ENCRYPTION_KEY_INFO, 'role="primary"')
_SECONDARY = series(ENCRYPTION_KEY_INFO, 'role="secondary"')
_OPENED = sum_by("job, key_id", rate(series(CRYPTO_OPERATIONS, 'operation="open"', 'outcome="ok"'), "12h"))
"""Over 12 hours, so that a quiet night does not start the alert's two days anew."""
# not the failed ones: to `or`, they are the same series as captures that failed
_SAVED = rate(series(SAVES, 'outcome!="failed"'), "10m")
# too_large concerns one caller, and pages no one
_NOT_SAVED = rate(series(SAVE_FAILURES, 'reason!="too_large"'), "10m")
_NOT_CAPTURED = rate(series(CAPTURES, 'outcome="failed"'), "10m")
_THRICE_THE_OTHERS = f"3 * sum by (job) ({INSTANCE_ERROR_RATIO}) / (count by (job) ({INSTANCE_ERROR_RATIO}) + 2)"
"""``x > 3 * (sum - x) / (count - 1)``, solved for x: with two workers, a median would say nothing."""
_BY_PROCESS = "job, instance, docket_name"
_STARTED = started(_BY_PROCESS, increase, "5m")
_LOOKED_AT = sum_by(_BY_PROCESS, increase(series(RESTORES), "5m"))
"""Skipped restores too: a worker that restores looks at every task, also at a task without a context."""
_NOT_LOOKED_AT = f"({_STARTED} - ({_LOOKED_AT} or 0 * {_STARTED}))"

ALERTS: tuple[Alert, ...] = (
    _burn(14.4, "1h", "5m", "critical", "2m"),
    _burn(6, "6h", "30m", "critical", "15m"),
    _burn(3, "1d", "2h", "warning", "1h"),
    _burn(1, "3d", "6h", "warning", "3h"),
    Alert(
        "SnapshotUnreadable",
        has_counted("job, docket_name, reason", series(RESTORE_FAILURES, f'reason=~"{"|".join(_UNUSABLE)}"'), "10m"),
        "critical",
        "Workers cannot use snapshots on docket {{ $labels.docket_name }}: {{ $labels.reason }}",
        '{{ $value | printf "%.0f" }} snapshots in 10 minutes were there and could not be used. This does not heal by itself: '
        "two processes disagree on keys or versions, something damages what is stored, or tasks run under other callers' keys.",
        "taskctx-overview",
        variables=("job", "docket"),
    ),
    Alert(
        "SnapshotMissing",
        ratio(
            sum_by("job, docket_name", rate(series(RESTORE_FAILURES, 'reason="missing"'), "15m")),
            sum_by("job, docket_name", rate(series(RESTORES, COUNTED), "15m")),
        )
        + " > 0.01",
        "warning",
        "Tasks on docket {{ $labels.docket_name }} find no snapshot",
        "{{ $value | humanizePercentage }} of restores in 15 minutes found nothing: snapshots expire before their tasks "
        "run, the server evicts them, or tasks are added without taskctx.",
        "taskctx-overview",
        "5m",
        variables=("job", "docket"),
    ),
    Alert(
        "SnapshotTTLHeadroomLow",
        ratio(
            sum_by("job", rate(series(SNAPSHOT_TTL_REMAINING, 'le="0.1"', suffix="_bucket"), "30m")),
            sum_by("job", rate(series(SNAPSHOT_TTL_REMAINING, suffix="_count"), "30m")),
        )
        + " > 0.05",
        "warning",
        "Snapshots are about to expire before their tasks run",
        "{{ $value | humanizePercentage }} of restored snapshots had under 10 % of their life left. The backlog is nearly "
        "as long as pending_ttl; when it is longer, callers are lost.",
        "taskctx-overview",
        "10m",
    ),
    Alert(
        "CredentialExpiring",
        quantile(0.1, "job", series(CREDENTIAL_TTL_REMAINING, suffix="_bucket"), "30m") + " < 60",
        "warning",
        "Access tokens expire while their tasks are queued",
        "A tenth of the tokens had {{ $value | humanizeDuration }} or less to live when their task began. Tasks that call "
        "other services with them fail, or run with no token at all.",
        "taskctx-overview",
        "10m",
    ),
    Alert(
        "SaveErrors",
        ratio(
            sum_by("job", f"{_NOT_SAVED} or {_NOT_CAPTURED}"),
            sum_by("job", f"{_SAVED} or {_NOT_SAVED} or {_NOT_CAPTURED}"),
        )
        + " > 0.01",
        "critical",
        "Tasks are not scheduled because their context cannot be captured or saved",
        "{{ $value | humanizePercentage }} of submissions in 10 minutes failed. Each is a request that was refused (or, "
        "with on_save_failure=continue, a task that will run anonymous).",
        "taskctx-overview",
        "5m",
    ),
    Alert(
        "ScheduleErrors",
        ratio(sum_by("job", rate(series(SCHEDULE_FAILURES), "10m")), sum_by("job", rate(series(SAVES), "10m")))
        + " > 0.01",
        "critical",
        "Tasks are not scheduled, though their context is saved",
        "{{ $value | humanizePercentage }} of the tasks that {{ $labels.job }} submitted in 10 minutes were not taken by "
        "Docket. Each is a request that was refused; the snapshots were taken back.",
        "taskctx-overview",
        "5m",
    ),
    Alert(
        "AnonymousSubmissions",
        ratio(
            sum_by("job, docket_name", rate(series(ANONYMOUS_SUBMISSIONS, 'meant="no"'), "30m")),
            sum_by("job, docket_name", rate(series(CAPTURES), "30m")),
        )
        + " > 0.05\nand "
        + sum_by("job, docket_name", increase(series(CAPTURES), "30m"))
        + f" >= {FLOOR}\nand "
        + sum_by("job, docket_name", increase(series(ANONYMOUS_SUBMISSIONS), "1d"))
        + " < 0.9 * "
        + sum_by("job, docket_name", increase(series(CAPTURES), "1d")),
        "warning",
        "Tasks are submitted without a caller on docket {{ $labels.docket_name }}, whose tasks have callers",
        "{{ $value | humanizePercentage }} of the tasks that {{ $labels.job }} submitted in 30 minutes have no caller, and "
        "nothing says that this is meant. They run anonymous, or are refused where on_anonymous says so.",
        "taskctx-overview",
        "10m",
        variables=("job", "docket"),
    ),
    Alert(
        "RestoreSlow",
        f"{RESTORE_P99} > 0.25",
        "warning",
        "Restoring a context takes long",
        "The slowest 1 % of restores take {{ $value | humanizeDuration }} or more, on top of every task.",
        "taskctx-overview",
        "10m",
    ),
    Alert(
        "WorkerRestoreOutlier",
        f"{INSTANCE_ERROR_RATIO} > 0.05\n"
        f"and {INSTANCE_ERROR_RATIO} > on (job) group_left () ({_THRICE_THE_OTHERS})\n"
        f"and {sum_by('job, instance', increase(series(RESTORES, COUNTED), '15m'))} >= {FLOOR}",
        "warning",
        "Worker {{ $labels.instance }} loses contexts that the other workers restore",
        "{{ $value | humanizePercentage }} of its restores fail, more than three times the mean of its fellows. It is "
        "the worker, not the data: its keys, its version or its way to Redis.",
        "taskctx-workers",
        "10m",
        variables=("job", "instance"),
    ),
    Alert(
        "RegistryHitRateLow",
        f"{_share_of_lookups('hit', _INSTANCE_REGISTRY, '30m')} < 0.5\n"
        f"and on ({_INSTANCE_REGISTRY}) {series(REGISTRY_ENTRIES)} > 0\n"
        f"and {sum_by(_INSTANCE_REGISTRY, increase(series(REGISTRY_LOOKUPS), '30m'))} >= {FLOOR}",
        "info",
        "A process that holds live {{ $labels.registry }}s rarely finds the one a task asks for",
        "Only {{ $value | humanizePercentage }} of lookups on {{ $labels.instance }} hit, though it has entries. Workers "
        "elsewhere miss by design; this one shares a process with the server.",
        "taskctx-registries",
        "15m",
        variables=("job", "instance", "registry"),
    ),
    Alert(
        "RegistryDeadEntries",
        _share_of_lookups("dead", _INSTANCE_REGISTRY, "30m") + " > 0.2",
        "info",
        "Tasks ask for {{ $labels.registry }}s that are gone",
        "{{ $value | humanizePercentage }} of lookups on {{ $labels.instance }} are for objects that have died: clients "
        "leave before their tasks run.",
        "taskctx-registries",
        "15m",
        variables=("job", "instance", "registry"),
    ),
    Alert(
        "RegistryNearCapacity",
        f"{series(REGISTRY_ENTRIES)} / {series(REGISTRY_CAPACITY)} > 0.9",
        "warning",
        "The {{ $labels.registry }} registry of {{ $labels.instance }} is nearly full",
        "{{ $value | humanizePercentage }} full. When it is, the oldest entries go and their tasks no longer find them.",
        "taskctx-registries",
        "10m",
        variables=("job", "instance", "registry"),
    ),
    Alert(
        "TraceContinuityLost",
        ratio(
            sum_by("job", rate(series(TRACE_CONTEXTS, 'result=~"absent|invalid"'), "30m")),
            sum_by("job", rate(series(TRACE_CONTEXTS), "30m")),
        )
        + " > 0.5\nand "
        + sum_by("job", increase(series(TRACE_CONTEXTS, 'result="continued"'), "1d"))
        + " > 0",
        "warning",
        "Most tasks no longer continue their request's trace",
        "{{ $value | humanizePercentage }} of restored snapshots hold no usable trace context, though some did within a "
        "day: a submitter lost its tracing.",
        "taskctx-overview",
        "15m",
    ),
    Alert(
        "InheritedContexts",
        sum_by("job", increase(series(INHERITED_CONTEXTS), "15m")) + " > 0",
        "warning",
        "The server of {{ $labels.job }} begins requests in the context of earlier ones",
        '{{ $value | printf "%.0f" }} requests in 15 minutes began with the ContextVars, trace and baggage of somebody else. '
        "taskctx gave them a clean context; what stands outside of its middleware saw the other's.",
        "taskctx-overview",
        "5m",
    ),
    Alert(
        "SchemaUnreadable",
        f"max({_WRITTEN}) > min({_NEWEST_READ})\nor\nmin({_WRITTEN}) < max({_OLDEST_READ})",
        "critical",
        "One process writes snapshots of a schema that another cannot read",
        "Schema {{ $value }} is written somewhere and not readable everywhere. Tasks of the one that reach the other run "
        "without context.",
        "taskctx-workers",
        "5m",
        variables=(),
    ),
    Alert(
        "VersionSkew",
        f"count by (job) (count by (job, version) ({series(BUILD_INFO)})) > 1",
        "info",
        "Several versions of taskctx run in job {{ $labels.job }}",
        "{{ $value }} versions at once for over an hour: a deploy did not finish.",
        "taskctx-workers",
        "1h",
    ),
    Alert(
        "KeyRotationStalled",
        f"{_OPENED} > 0\nand on (key_id) (max by (key_id) ({_SECONDARY}) unless on (key_id) max by (key_id) ({_PRIMARY}))",
        "info",
        "Snapshots sealed with the old key {{ $labels.key_id }} are still being opened",
        "Two days after the rotation, tasks still depend on a key that no process seals with. Do not remove it yet.",
        "taskctx-workers",
        "2d",
        variables=(),
    ),
    Alert(
        "KeyMissingOnWorker",
        f"count by (key_id) (count by (job, instance, key_id) ({series(ENCRYPTION_KEY_INFO)}))\n"
        f"< on () group_left () count(count by (job, instance) ({series(ENCRYPTION_KEY_INFO)}))\n"
        "and on (key_id) "
        + sum_by("key_id", increase(series(CRYPTO_OPERATIONS, 'operation="seal"', 'outcome="ok"'), "1d"))
        + " > 0",
        "critical",
        "Not every process has the encryption key {{ $labels.key_id }}, which snapshots are sealed with",
        "{{ $value }} processes have it, fewer than have keys at all. Tasks sealed with it fail on the others.",
        "taskctx-workers",
        "10m",
        variables=(),
    ),
    # where a worker that restores is alive, and all that waits is not due, what was submitted is scheduled ahead or a duplicate
    Alert(
        "NoRestores",
        sum_by("docket_name", increase(series(CAPTURES, 'outcome!="failed"'), "30m"))
        + " > 0\nunless on (docket_name) ("
        + has_counted("docket_name", series(RESTORES), "30m")
        + ")\nunless on (docket_name) ("
        + sum_by("docket_name", increase(series(SWEEPS, 'outcome="ok"'), "30m"))
        + f" > 0 and max by (docket_name) ({DOCKET_QUEUE_DEPTH}) == 0 and max by (docket_name) ({DOCKET_SCHEDULE_DEPTH}) > 0)",
        "critical",
        "Contexts are saved on docket {{ $labels.docket_name }}, and none is restored",
        '{{ $value | printf "%.0f" }} submissions in 30 minutes and no worker restored anything: workers are down, or '
        "run without worker_dependencies.",
        "taskctx-overview",
        "10m",
        variables=("docket",),
    ),
    Alert(
        "CoverageLow",
        f"{_NOT_LOOKED_AT} > 0.25 * {_STARTED}\n"
        f"and {_STARTED} >= 5\n"
        f"and on (docket_name) {sum_by('docket_name', increase(series(RESTORES, COUNTED), '5m'))} > 0\n"
        # the count itself: one is enough, the first has no increase, and the worker stays as it was started
        f"or\n{sum_by(_BY_PROCESS, series(UNRESTORED_READS))} > 0",
        "critical",
        "Worker {{ $labels.instance }} restores no callers on docket {{ $labels.docket_name }}",
        '{{ $value | printf "%.0f" }} tasks ran there without being restored (in 5 minutes, or, if they asked for their caller, '
        "since it started): it was started without worker_dependencies.",
        "taskctx-workers",
        "15m",
        variables=("job", "instance"),
    ),
    Alert(
        "TargetDown",
        f"up == 0 and on (job, instance) last_over_time({series(BUILD_INFO)}[6h])",
        "critical",
        "{{ $labels.instance }} of {{ $labels.job }} cannot be scraped",
        "It exposed taskctx metrics within six hours and does not answer now. What it does is not seen.",
        "taskctx-workers",
        "3m",
        variables=("job", "instance"),
    ),
    Alert(
        "MetricsAbsent",
        f"absent({series(BUILD_INFO)})",
        "critical",
        "No process exposes taskctx metrics",
        "Every panel is empty, and of taskctx's alerts only this one and TaskCtxTargetDown can fire.",
        "taskctx-overview",
        "10m",
        variables=(),
    ),
)
