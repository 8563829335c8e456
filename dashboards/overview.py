"""Overview: are contexts reaching their tasks, and if not, why?"""

from __future__ import annotations

from taskctx.telemetry.names import (
    ANONYMOUS_SUBMISSIONS,
    CAPTURE_DURATION,
    CAPTURE_FIELDS,
    CAPTURES,
    COMMANDS_REFUSED,
    CREDENTIAL_TTL_AT_CAPTURE,
    CREDENTIAL_TTL_REMAINING,
    INHERITED_CONTEXTS,
    RESTORE_DURATION,
    RESTORE_FAILURES,
    RESTORES,
    SAVE_DURATION,
    SAVE_FAILURES,
    SAVES,
    SCHEDULE_FAILURES,
    SNAPSHOT_AGE,
    SNAPSHOT_SIZE,
    SNAPSHOT_SIZE_LIMIT,
    SNAPSHOT_TTL,
    SNAPSHOT_TTL_REMAINING,
    SWEEPS,
    SWEPT_SNAPSHOTS,
    TASK_RESTORE_FAILURES,
    TRACE_CONTEXTS,
    Metric,
)

from .alerts import BUDGET, OBJECTIVE
from .colors import ALARM, BAD, GOOD, NONE, OUTCOMES, QUANTILES, REASONS, REMAINING, TRACES, WORSE
from .frame import (
    DEGRADED_TRACES,
    DOCKET,
    DOWN,
    FAILED_TRACES,
    JOB,
    LAST_SEEN,
    OVERVIEW,
    PROCESS,
    REASON_TRACES,
    RUNBOOK,
    SLO,
    TASK_TRACES,
    WORKERS,
    to_dashboard,
)
from .model import Column, Dashboard, Panel, Query, Row
from .promql import (
    DOCKET_TASKS_STARTED,
    RANGE,
    RATE,
    has_counted,
    increase,
    or_none,
    or_zero,
    quantile,
    rate,
    ratio,
    series,
    started,
    sum_by,
)
from .recording import COUNTED, FAILED, error_ratio, restores, unsaved

_RECENTLY = "5m"
"""The window of a number that shows the present: long enough to have some tasks in it."""
_NO_RESTORES = "no data: no restores in this time range"
_NO_SAVES = "no data: no submissions in this time range"
_NO_PROCESS = "no data: no process exposes taskctx metrics"


def _failed_share() -> str:
    """The share of restores that failed in the last five minutes."""
    return ratio(
        sum_by("", rate(series(RESTORES, FAILED, *PROCESS, DOCKET), _RECENTLY)),
        sum_by("", rate(series(RESTORES, COUNTED, *PROCESS, DOCKET), _RECENTLY)),
    )


def _unsaved_share() -> str:
    """The share of submissions that failed in the last five minutes."""
    failed = unsaved("", rate, _RECENTLY, *PROCESS, DOCKET)
    saved = sum_by("", rate(series(SAVES, 'outcome="ok"', *PROCESS, DOCKET), _RECENTLY))
    return ratio(f"({failed})", f"({failed} + {saved})")


def _token_life(metric: Metric) -> tuple[Query, ...]:
    life = series(metric, *PROCESS, DOCKET, suffix="_bucket")
    return tuple(Query(quantile(q, "", life, RATE), f"p{q * 100:g}") for q in (0.1, 0.5))


def _without_a_caller(meant: str, window: str) -> str:
    return ratio(
        sum_by("docket_name", rate(series(ANONYMOUS_SUBMISSIONS, f'meant="{meant}"', *PROCESS, DOCKET), window)),
        sum_by("docket_name", rate(series(CAPTURES, *PROCESS, DOCKET), window)),
    )


def _by_outcome(metric: Metric, *filters: str) -> Query:
    """The rate of each outcome that occurs: a name in the legend without an area says nothing."""
    return Query(sum_by("outcome", rate(series(metric, *filters), RATE)) + " > 0", "{{outcome}}")


_STARTED = started("docket_name", rate, RATE, *PROCESS, DOCKET)
_COVERED = sum_by(
    "docket_name",
    f"{rate(series(RESTORES, *PROCESS, DOCKET), RATE)}\n"
    f"and on (job, instance, docket_name) {series(DOCKET_TASKS_STARTED, *PROCESS, DOCKET)}",
)
"""Restores of processes that expose Docket's metrics too; an embedded worker usually does not."""

_TASK = "docket_name, docket_task"
_FAILING = series(TASK_RESTORE_FAILURES, *PROCESS, DOCKET)
_FAILED_IN_RANGE = f"({has_counted(_TASK, _FAILING, RANGE)})"

_FIRING = series(
    "ALERTS",
    'alertname=~"TaskCtx.*"',
    'alertstate="firing"',
    'severity!="info"',
    'job=~"$job|"',
    'instance=~"$instance|"',
    'docket_name=~"$docket|"',
)


def _concerning(alerts: str) -> str:
    """The alerts, with the docket, process, registry or key that they concern in one label."""
    joined = f'label_join({alerts}, "concerns", " ", "docket_name", "instance", "registry", "key_id", "job")'
    return f'label_replace({joined}, "concerns", "$1", "concerns", " *(.*?) *")'


_HEALTH = Row(
    "Health",
    (
        Panel(
            "stat",
            "Contexts restored, last 5 min",
            f"Share of task runs whose caller's context was restored, also without an expired token (degraded). Good: {OBJECTIVE:.1%} or more. "
            "Red: tasks run without knowing their caller, or are failed; see 'Failures by reason' below for the cause. The SLO dashboard has "
            "what is left of 30 days' budget.",
            "percentunit",
            "no data: no restores in the last 5 minutes",
            (Query("1 - " + _failed_share(), instant=True),),
            width=5,
            height=4,
            thresholds=((None, BAD), (0.99, WORSE), (OBJECTIVE, GOOD)),
            links=(FAILED_TRACES, to_dashboard("SLO", SLO)),
            decimals=2,
        ),
        Panel(
            "stat",
            "Submissions saved, last 5 min",
            f"Share of submissions whose context was captured and stored. Good: {OBJECTIVE:.1%} or more. Red: requests are refused with CaptureError or SaveError, "
            "and their tasks not scheduled; 'Save failures by reason' has the cause, the table of processes on the Workers dashboard whose they are.",
            "percentunit",
            "no data: no submissions in the last 5 minutes",
            (Query("1 - " + _unsaved_share(), instant=True),),
            width=5,
            height=4,
            thresholds=((None, BAD), (0.99, WORSE), (OBJECTIVE, GOOD)),
            links=(to_dashboard("Workers", WORKERS),),
            decimals=2,
        ),
        Panel(
            "stat",
            "Without a caller, last 5 min",
            "Share of submissions that had no caller to capture, and were not inside taskctx.anonymous(), of the docket with most of them. Good: what is usual for your service, 0 for most. "
            "Orange from 5 %: a deploy lost the caller before the submission; 'Submissions without a caller' has it by docket.",
            "percentunit",
            "no data: no submissions in the last 5 minutes",
            (
                Query(
                    f"max({_without_a_caller('no', _RECENTLY)})",
                    instant=True,
                ),
            ),
            width=5,
            height=4,
            thresholds=((None, GOOD), (0.05, WORSE)),
            decimals=1,
        ),
        Panel(
            "stat",
            "Failing now",
            "Restores, captures and saves that fail in a second, by the last scrapes alone. Good: 0. Red: it goes on. 0 beside a share that is red: it is over, "
            "and the share follows within five minutes.",
            "ops",
            _NO_PROCESS,
            (
                Query(
                    or_zero(
                        sum_by("", rate(series(RESTORES, FAILED, *PROCESS, DOCKET), RATE))
                        + " + "
                        + unsaved("", rate, RATE, *PROCESS, DOCKET),
                        *PROCESS,
                    ),
                    instant=True,
                ),
            ),
            width=4,
            height=4,
            thresholds=((None, GOOD), (1e-9, BAD)),
        ),
        Panel(
            "stat",
            "Processes down, all dockets",
            f"Processes that exposed taskctx metrics within {LAST_SEEN.removesuffix('h')} hours and do not answer now. Good: 0. Red: they crashed, hang or cannot be reached; "
            "the table of processes on the Workers dashboard has them on top.",
            "short",
            "no data: see TaskCtxMetricsAbsent",
            (Query(or_zero(f"count({DOWN})", *PROCESS), instant=True),),
            nothing=BAD,
            width=5,
            height=4,
            thresholds=((None, GOOD), (1.0, BAD)),
            links=(to_dashboard("Workers", WORKERS),),
        ),
        Panel(
            "table",
            "Firing alerts",
            "Alerts of taskctx that fire now, info ones aside, the critical ones first. Good: none. Click a name for its runbook, which says what to do.",
            "short",
            "no data: no process, or rules not loaded",
            (
                Query(
                    or_none(
                        f"sum by (alertname, severity, concerns) ({_concerning(_FIRING)})",
                        "alertname",
                        evidence=series(restores("1h")),
                    ),
                ),
            ),
            width=12,
            height=9,
            columns=(
                Column("severity", words=(("critical", "critical", BAD), ("warning", "warning", WORSE)), width=72),
                Column("alertname", links=(RUNBOOK,), width=250),
                Column("concerns"),
            ),
            sort=("severity",),
        ),
        Panel(
            "table",
            "Failing tasks",
            "Tasks whose context was not (or not wholly) restored, by name; beyond 100 names, together as _other. Good: empty. One task "
            "only: its submitter is wrong. All tasks: it is the workers or Redis. Click a name for its traces. No red in the last 5 minutes: it is over.",
            "locale",
            _NO_PROCESS,
            (
                Query(or_none(_FAILED_IN_RANGE, "docket_task", *PROCESS), name="Failures"),
                Query(
                    sum_by(_TASK, increase(_FAILING, _RECENTLY)) + f" and on ({_TASK}) {_FAILED_IN_RANGE}",
                    name="Last 5 min",
                ),
            ),
            decimals=0,
            columns=(
                Column("docket_task", links=(TASK_TRACES,)),
                Column("docket_name"),
                Column("Failures"),
                Column("Last 5 min", thresholds=ALARM),
            ),
            width=12,
            height=9,
            sort=("-Last 5 min", "-Failures"),
        ),
    ),
)

_RESTORING = Row(
    "Restoring",
    (
        Panel(
            "timeseries",
            "Restores by outcome",
            "ok: the caller is there. degraded: all of it but the token (expired) or a carried value. failed: nothing. "
            "skipped: tasks that are not ours. Good: ok, and skipped for Docket's own tasks. Failed rising: go right.",
            "ops",
            _NO_RESTORES,
            (_by_outcome(RESTORES, *PROCESS, DOCKET),),
            stacked=True,
            colors=OUTCOMES,
        ),
        Panel(
            "timeseries",
            "Failures by reason",
            "Why contexts were lost. missing: expired, evicted or never saved. backend_*: Redis. decrypt_*, plaintext_refused: "
            "keys differ between processes. schema_unsupported: a newer version writes. scope_mismatch: a task under a key that is not "
            "its caller's. credential_expired: the queue is longer than the tokens live. credential_refresh_failed: so it is, and the refresh_token hook failed. Good: empty or zero. Click a line for traces.",
            "ops",
            _NO_PROCESS,
            (
                Query(
                    or_none(
                        sum_by("reason", rate(series(RESTORE_FAILURES, *PROCESS, DOCKET), RATE)), "reason", *PROCESS
                    ),
                    "{{reason}}",
                ),
            ),
            colors=REASONS,
            links=(REASON_TRACES, DEGRADED_TRACES),
        ),
        Panel(
            "timeseries",
            "Burn rate, all processes",
            "How many times faster than sustainable the error budget is used up. Good: under 1. At 14.4 a month's budget is gone "
            "in two days and TaskCtxRestoreErrorBudgetBurn pages: 'Failures by reason' says why.",
            "short",
            _NO_RESTORES,
            tuple(
                Query(f"max({series(error_ratio(window), JOB, DOCKET)}) / {BUDGET:g}", window)
                for window in ("5m", "1h", "6h", "1d")
            ),
            colors=(("5m", "red"), ("1h", "orange"), ("6h", "yellow"), ("1d", "blue")),
            thresholds=((None, "transparent"), (1.0, "orange"), (14.4, "red")),
            at_least=100,
            scale="symlog",
            is_filled=False,
            links=(to_dashboard("SLO", SLO),),
        ),
        Panel(
            "timeseries",
            "Restore latency",
            "Time before each task's body. Good: p99 under 50 ms and flat. Rising with load: the Redis server or the workers are busy. "
            "Dots are traces.",
            "s",
            _NO_RESTORES,
            tuple(
                Query(
                    quantile(q, "", series(RESTORE_DURATION, *PROCESS, DOCKET, suffix="_bucket"), RATE), f"p{q * 100:g}"
                )
                for q in (0.5, 0.95, 0.99)
            ),
            width=12,
            colors=QUANTILES,
            thresholds=((None, "transparent"), (0.25, "red")),
        ),
        Panel(
            "timeseries",
            "Coverage",
            "Share of all task runs of the docket that taskctx looked at. Good: 1. Red: some workers run tasks without context, unseen: "
            "start them with taskctx.worker_dependencies too.",
            "percentunit",
            "no data: Docket's own metrics are not scraped, or no task ran",
            (
                Query(
                    # a docket on which no process restores has no restores to count
                    ratio(f"({_COVERED}\nor 0 * {_STARTED})", _STARTED),
                    "{{docket_name}}",
                ),
            ),
            width=12,
            thresholds=((None, "transparent"), (0.99, "red")),
        ),
    ),
)

_CAPTURED = series(CAPTURE_FIELDS, 'result="captured"', *PROCESS, DOCKET)

_SUBMITTING = Row(
    "Submitting",
    (
        Panel(
            "timeseries",
            "Captures by outcome",
            "ok: all that was there came along. partial: a part was left out whole by policy. empty: nothing was there. failed: the "
            "task was not scheduled. Good: ok, with as many empty as you have anonymous requests.",
            "ops",
            _NO_SAVES,
            (_by_outcome(CAPTURES, *PROCESS, DOCKET),),
            stacked=True,
            colors=OUTCOMES,
            width=6,
        ),
        Panel(
            "timeseries",
            "Submissions without a caller",
            "Share of tasks submitted without a caller, by docket. Good: 0, or steady where taskctx.anonymous() says that it is "
            "meant. A step up of what is not meant: a deploy lost the caller before the submission, and above 5 % "
            "TaskCtxAnonymousSubmissions warns.",
            "percentunit",
            _NO_PROCESS,
            (
                Query(or_none(_without_a_caller("no", RATE), "docket_name", *PROCESS), "{{docket_name}}, not meant"),
                Query(_without_a_caller("yes", RATE) + " > 0", "{{docket_name}}, meant"),
            ),
            width=6,
            is_filled=False,
            colors=(("/, not meant$/", "orange"), ("/, meant$/", "blue"), ("/^none, not meant$/", GOOD)),
        ),
        Panel(
            "timeseries",
            "Saves",
            "Snapshots stored; skipped are duplicates of tasks already scheduled. Good: follows your traffic, none failed. "
            "Failed: each is a task refused, see the reason in the logs and the next panel.",
            "ops",
            _NO_SAVES,
            (_by_outcome(SAVES, *PROCESS, DOCKET),),
            stacked=True,
            colors=OUTCOMES,
            width=6,
        ),
        Panel(
            "timeseries",
            "Save failures by reason",
            "backend_*: Redis is away or slow. too_large: a caller brings more than max_snapshot_bytes. carried_invalid: a carried "
            "value is not JSON. Not captured: so it did not come to be saved, and the log says why. Not scheduled: saved, and then Docket failed (TaskCtxScheduleErrors). Without TIME, TTL: the Redis user may not ask, "
            "see docs/deploy.md. Good: zero.",
            "ops",
            _NO_PROCESS,
            (
                Query(
                    or_none(sum_by("reason", rate(series(SAVE_FAILURES, *PROCESS, DOCKET), RATE)), "reason", *PROCESS),
                    "{{reason}}",
                ),
                Query(sum_by("", rate(series(CAPTURES, FAILED, *PROCESS, DOCKET), RATE)) + " > 0", "not captured"),
                Query(
                    sum_by("reason", rate(series(SCHEDULE_FAILURES, *PROCESS, DOCKET), RATE)) + " > 0",
                    "not scheduled: {{reason}}",
                ),
                Query(
                    sum_by("command", rate(series(COMMANDS_REFUSED, *PROCESS, DOCKET), RATE)) + " > 0",
                    "without {{command}}",
                ),
            ),
            colors=(*REASONS, ("not captured", BAD), ("/^not scheduled/", "orange"), ("/^without/", "purple")),
            width=6,
        ),
        Panel(
            "timeseries",
            "What is captured",
            "Share of submissions that brought each part of the context. Good: steady. A step down at a version change (blue "
            "line): that deploy lost it, for example 'no token since the deploy'.",
            "percentunit",
            _NO_SAVES,
            (
                Query(
                    sum_by("field", rate(_CAPTURED, RATE))
                    + "\n/ ignoring (field) group_left ()\n"
                    + f"({sum_by('', rate(series(CAPTURES, *PROCESS, DOCKET), RATE))} > 0)\n"
                    + f"and on (field) ({sum_by('field', increase(_CAPTURED, RANGE))} > 0)",
                    "{{field}}",
                ),
            ),
            maximum=1,
            is_filled=False,
        ),
        Panel(
            "timeseries",
            "Dropped by policy",
            "Captures in which headers or baggage were left out by headers_deny or baggage_keys. Good: steady: credentials are always "
            "left out. A step up means that a client sends something new.",
            "ops",
            _NO_SAVES,
            (
                Query(
                    or_none(
                        sum_by("field", rate(series(CAPTURE_FIELDS, 'result="dropped"', *PROCESS, DOCKET), RATE)),
                        "field",
                        *PROCESS,
                    ),
                    "{{field}}",
                ),
            ),
            colors=(NONE,),
        ),
        Panel(
            "timeseries",
            "Submission latency",
            "Time that a submission spends in taskctx: capturing (our code alone), then saving (a Redis round trip). Good: saves at p99 "
            "under 50 ms, captures under 1 ms. Saves rising: the Redis server or the network. Dots are traces.",
            "s",
            _NO_SAVES,
            (
                *(
                    Query(
                        quantile(q, "", series(SAVE_DURATION, *PROCESS, DOCKET, suffix="_bucket"), RATE),
                        f"save p{q * 100:g}",
                    )
                    for q in (0.5, 0.99)
                ),
                Query(
                    quantile(0.99, "", series(CAPTURE_DURATION, *PROCESS, DOCKET, suffix="_bucket"), RATE),
                    "capture p99",
                ),
            ),
            colors=(("save p50", "blue"), ("save p99", "red"), ("capture p99", "purple")),
        ),
        Panel(
            "timeseries",
            "Requests begun in another's context, all dockets",
            "Requests that the server (uvicorn, of large bodies and pipelined requests) began in the context of the one before on their connection. taskctx runs "
            "them in a clean one; what stands outside of its middleware does not. Good: zero. Else start uvicorn with "
            "--reset-contextvars.",
            "ops",
            _NO_PROCESS,
            (
                Query(
                    or_none(sum_by("instance", rate(series(INHERITED_CONTEXTS, *PROCESS), RATE)), "instance", *PROCESS),
                    "{{instance}}",
                ),
            ),
            colors=(NONE,),
            width=24,
            height=5,
        ),
    ),
)

_LIFETIME = Row(
    "Lifetime and size",
    (
        Panel(
            "heatmap",
            "Age when restored",
            "How long snapshots waited, by the Redis server's clock. Good: the bulk where your queue delay is. A band that rises: "
            "a backlog: add workers. Tasks scheduled ahead are as old as they were early, and perpetual ones as their first submission.",
            "s",
            _NO_RESTORES,
            (Query(sum_by("le", increase(series(SNAPSHOT_AGE, *PROCESS, DOCKET, suffix="_bucket"), RATE)), "{{le}}"),),
            width=12,
        ),
        Panel(
            "heatmap",
            "Life left when restored",
            "Share of the TTL that was left. Good: near 1. A band that sinks towards 0: snapshots are about to expire before their "
            "tasks run; add workers or raise pending_ttl.",
            "percentunit",
            _NO_RESTORES,
            (
                Query(
                    sum_by("le", increase(series(SNAPSHOT_TTL_REMAINING, *PROCESS, DOCKET, suffix="_bucket"), RATE)),
                    "{{le}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "timeseries",
            "Age against pending_ttl",
            "Age of the oldest 1 % of restored snapshots, and pending_ttl: what a snapshot lives past the time its task is due. Good: far "
            "below the line (tasks scheduled ahead and perpetual ones are older, and may be). Close to it: add workers, or raise pending_ttl before callers "
            "are lost as 'missing'.",
            "s",
            _NO_RESTORES,
            (
                Query(quantile(0.99, "", series(SNAPSHOT_AGE, *PROCESS, DOCKET, suffix="_bucket"), RATE), "age p99"),
                Query(f"min({series(SNAPSHOT_TTL, *PROCESS)})", "pending_ttl"),
            ),
            width=12,
            scale="log",
            is_filled=False,
            colors=(("age p99", "blue"), ("pending_ttl", "red")),
        ),
        Panel(
            "timeseries",
            "Under 10 % of life left",
            "Share of restores that came in the last tenth of their snapshot's life. Good: 0. Above 5 % TaskCtxSnapshotTTLHeadroomLow "
            "warns: the next step is callers lost as 'missing'. Add workers, or raise pending_ttl.",
            "percentunit",
            _NO_RESTORES,
            (
                Query(
                    ratio(
                        sum_by(
                            "",
                            rate(series(SNAPSHOT_TTL_REMAINING, 'le="0.1"', *PROCESS, DOCKET, suffix="_bucket"), RATE),
                        ),
                        sum_by("", rate(series(SNAPSHOT_TTL_REMAINING, *PROCESS, DOCKET, suffix="_count"), RATE)),
                    ),
                    "under 10 %",
                ),
            ),
            width=12,
            thresholds=((None, "transparent"), (0.05, "red")),
        ),
        Panel(
            "timeseries",
            "Token life left when submitted",
            "What callers' tokens still have to live as their tasks are submitted; 0 is expired. Good: p10 well above the queue's delay and "
            "a task's length together. Near 0 here already: no worker can help; have clients renew their tokens before they ask.",
            "s",
            "no data: no captured token says when it expires",
            _token_life(CREDENTIAL_TTL_AT_CAPTURE),
            colors=REMAINING,
            width=12,
            thresholds=((None, "transparent"), (60.0, "red")),
        ),
        Panel(
            "timeseries",
            "Token life left when restored",
            "What callers' tokens (or those they were refreshed to) still have to live as their tasks begin; 0 is expired. Good: p10 well "
            "above a task's own length. Near 0 with plenty left at submission: the queue is too long: add workers, or a refresh_token hook.",
            "s",
            "no data: no restored token says when it expires",
            _token_life(CREDENTIAL_TTL_REMAINING),
            colors=REMAINING,
            width=12,
            thresholds=((None, "transparent"), (60.0, "red")),
        ),
        Panel(
            "timeseries",
            "Snapshot size and its limit",
            "Bytes as stored. Good: p99 well under the limit. At the limit, submissions are refused (too_large): narrow "
            "headers_allow or baggage_keys.",
            "bytes",
            _NO_SAVES,
            (
                Query(quantile(0.5, "", series(SNAPSHOT_SIZE, *PROCESS, DOCKET, suffix="_bucket"), RATE), "p50"),
                Query(quantile(0.99, "", series(SNAPSHOT_SIZE, *PROCESS, DOCKET, suffix="_bucket"), RATE), "p99"),
                Query(f"min({series(SNAPSHOT_SIZE_LIMIT, *PROCESS)})", "limit"),
            ),
            width=12,
            scale="log",
            is_filled=False,
            colors=(("p50", "blue"), ("p99", "orange"), ("limit", "red")),
        ),
        Panel(
            "timeseries",
            "Trace continuity",
            "What restored snapshots knew of their request's trace. continued: linked. unsampled: known, not recorded. absent: "
            "submitted outside any trace. invalid: damaged. Good: no absent where requests are traced.",
            "ops",
            _NO_RESTORES,
            (Query(sum_by("result", rate(series(TRACE_CONTEXTS, *PROCESS, DOCKET), RATE)) + " > 0", "{{result}}"),),
            stacked=True,
            colors=TRACES,
            width=12,
        ),
        Panel(
            "timeseries",
            "Snapshots that outlived their tasks",
            "Found by a worker and shortened to completed_ttl, by docket: their tasks were cancelled, struck or cleared. Good: as many as you "
            "cancel with Docket's own cancel, or none. 'failed': the search did not work; the worker's log says why (it needs SCAN).",
            "short",
            "no data: no worker exposes taskctx metrics",
            (
                Query(
                    sum_by("docket_name", increase(series(SWEPT_SNAPSHOTS, *PROCESS, DOCKET), RATE)),
                    "{{docket_name}}",
                ),
                Query(sum_by("", increase(series(SWEEPS, 'outcome="failed"', *PROCESS, DOCKET), RATE)), "failed"),
            ),
            colors=(("failed", BAD),),
            width=24,
        ),
    ),
)

DASHBOARD = Dashboard(
    OVERVIEW,
    "taskctx / Overview",
    "Do callers' contexts reach their tasks, and if not, why?",
    (_HEALTH, _RESTORING, _SUBMITTING, _LIFETIME),
    variables=("job", "instance", "docket"),
)
