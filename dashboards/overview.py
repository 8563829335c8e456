"""Overview: are contexts reaching their tasks, and if not, why?"""

from __future__ import annotations

from taskctx.telemetry.names import (
    ANONYMOUS_SUBMISSIONS,
    BUILD_INFO,
    CAPTURE_DURATION,
    CAPTURE_FIELDS,
    CAPTURES,
    COMMANDS_REFUSED,
    CREDENTIAL_TTL_AT_CAPTURE,
    CREDENTIAL_TTL_REMAINING,
    INHERITED_CONTEXTS,
    RESTORE_DURATION,
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
    TASK_RESTORE_FAILURES,
    TRACE_CONTEXTS,
    Metric,
)

from .alerts import BUDGET, OBJECTIVE
from .frame import (
    DEGRADED_TRACES,
    DOCKET,
    FAILED_TRACES,
    JOB,
    OVERVIEW,
    PROCESS,
    REASON_TRACES,
    SLO,
    TASK_TRACES,
    to_dashboard,
)
from .model import Color, Dashboard, Panel, Query, Row
from .promql import DOCKET_TASKS_STARTED, increase, or_none, quantile, rate, ratio, series, sum_by
from .recording import COUNTED, FAILED, FAILURE_RATE, RESTORE_RATE, error_ratio

RATE = "$__rate_interval"
RANGE = "$__range"
_NO_RESTORES = "no data: no restores in this time range"
_NO_SAVES = "no data: no submissions in this time range"
_OUTCOMES: tuple[tuple[str, Color], ...] = (
    ("ok", "green"),
    ("degraded", "yellow"),
    ("partial", "yellow"),
    ("failed", "red"),
    ("empty", "blue"),
    ("skipped", "blue"),
)


def _share(part: str, *filters: str, window: str = RATE) -> str:
    return ratio(
        sum_by("", rate(series(RESTORES, part, *filters), window)),
        sum_by("", rate(series(RESTORES, COUNTED, *filters), window)),
    )


def _count_or_zero(expression: str) -> str:
    return f"{expression} or vector(0)"


def _token_life(metric: Metric) -> tuple[Query, ...]:
    life = series(metric, *PROCESS, suffix="_bucket")
    return tuple(Query(quantile(q, "", life, RATE), f"p{q * 100:g}") for q in (0.1, 0.5))


_COVERED = (
    f"{rate(series(RESTORES, JOB, DOCKET), RATE)}\n"
    f"and on (job, instance, docket_name) {series(DOCKET_TASKS_STARTED, JOB, DOCKET)}"
)
"""Restores of processes that expose Docket's metrics too: an embedded worker as a rule does not."""

_HEALTH = Row(
    "Health",
    (
        Panel(
            "stat",
            "Restores that did not fail",
            f"Share of task runs whose caller's context was restored, over the time range. Good: {OBJECTIVE:.1%} or more. "
            "Red: tasks run without knowing their caller, or are failed; see 'Failures by reason' below for the cause.",
            "percentunit",
            _NO_RESTORES,
            (Query("1 - " + _share(FAILED, *PROCESS, DOCKET, window=RANGE), instant=True),),
            width=4,
            height=5,
            thresholds=((None, "red"), (0.99, "orange"), (OBJECTIVE, "green")),
            links=(FAILED_TRACES,),
            decimals=3,
        ),
        Panel(
            "stat",
            "Error budget left",
            "What is left of the 0.1 % of restores that may fail, over the time range. Good: above 50 %. Below zero the "
            "objective is missed: stop risky deploys and work through the failures by reason. The SLO dashboard has 30 days.",
            "percentunit",
            _NO_RESTORES,
            (Query(f"1 - ({_share(FAILED, *PROCESS, DOCKET, window=RANGE)}) / {BUDGET:g}", instant=True),),
            width=4,
            height=5,
            thresholds=((None, "red"), (0.0, "orange"), (0.5, "green")),
            links=(to_dashboard("SLO", SLO),),
            decimals=1,
        ),
        Panel(
            "stat",
            "Restores per second",
            "Task runs with a context to restore. Good: it follows your traffic. Zero while requests submit tasks: workers "
            "are down or run without taskctx.worker_dependencies.",
            "ops",
            _NO_RESTORES,
            (Query(sum_by("", rate(series(RESTORES, COUNTED, *PROCESS, DOCKET), RATE)), instant=True),),
            width=4,
            height=5,
            thresholds=((None, "blue"),),
        ),
        Panel(
            "stat",
            "Restore p99",
            "99 % of restores are at most this slow; every task waits for its own. Good: under 50 ms. Red from 250 ms: look "
            "at the Redis server's latency and at the workers' event loops.",
            "s",
            _NO_RESTORES,
            (Query(quantile(0.99, "", series(RESTORE_DURATION, *PROCESS, suffix="_bucket"), RATE), instant=True),),
            width=4,
            height=5,
            thresholds=((None, "green"), (0.05, "orange"), (0.25, "red")),
        ),
        Panel(
            "stat",
            "Processes",
            "Processes that expose taskctx metrics: servers and workers. Good: as many as you deployed. Fewer: some are down, "
            "or not scraped; the Workers dashboard shows which.",
            "short",
            "no data: see TaskCtxMetricsAbsent",
            (Query(f"count(count by (job, instance) ({series(BUILD_INFO, *PROCESS)}))", instant=True),),
            nothing="red",
            width=4,
            height=5,
            thresholds=((None, "red"), (1.0, "green")),
        ),
        Panel(
            "stat",
            "Firing alerts",
            "Alerts of taskctx that fire now, info ones aside. Good: none. Each has a runbook with what to do, linked from the alert.",
            "short",
            "0",
            (
                Query(
                    _count_or_zero('count(ALERTS{alertname=~"TaskCtx.*", alertstate="firing", severity!="info"})'),
                    instant=True,
                ),
            ),
            width=4,
            height=5,
            thresholds=((None, "green"), (1.0, "red")),
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
            (Query(f"sum by (outcome) ({series(RESTORE_RATE, JOB, DOCKET)})", "{{outcome}}"),),
            stacked=True,
            colors=_OUTCOMES,
        ),
        Panel(
            "timeseries",
            "Failures by reason",
            "Why contexts were lost. missing: expired, evicted or never saved. backend_*: Redis. decrypt_*, plaintext_refused: "
            "keys differ between processes. schema_unsupported: a newer version writes. scope_mismatch: a task under a key that is not "
            "its caller's. credential_expired: the queue is longer than the tokens live. credential_refresh_failed: so it is, and the refresh_token hook failed. Good: empty or zero. Click a line for traces.",
            "ops",
            "0: no failures in this time range",
            (Query(or_none(f"sum by (reason) ({series(FAILURE_RATE, JOB, DOCKET)})", "reason"), "{{reason}}"),),
            at_least=0.1,
            links=(REASON_TRACES, DEGRADED_TRACES),
        ),
        Panel(
            "timeseries",
            "Burn rate",
            "How many times faster than sustainable the error budget is used up. Good: under 1. At 14.4 a month's budget is gone "
            "in two days and TaskCtxRestoreErrorBudgetBurn pages: 'Failures by reason' says why.",
            "short",
            _NO_RESTORES,
            tuple(
                Query(f"max({series(error_ratio(window), JOB, DOCKET)}) / {BUDGET:g}", window)
                for window in ("5m", "1h", "6h", "1d")
            ),
            thresholds=((None, "green"), (1.0, "orange"), (14.4, "red")),
            at_least=16,
            links=(to_dashboard("SLO", SLO),),
        ),
        Panel(
            "table",
            "Failing tasks",
            "Tasks whose context was not (or not wholly) restored, by name; beyond 100 names, together as _other. Good: empty. One task "
            "only: its submitter is wrong. All tasks: it is the workers or Redis. Click a row for its traces.",
            "locale",
            "none: no task lost its context in this time range",
            (
                Query(
                    sum_by("docket_task", increase(series(TASK_RESTORE_FAILURES, *PROCESS), RANGE)) + " > 0",
                    name="Failures",
                ),
            ),
            links=(TASK_TRACES,),
            decimals=0,
        ),
        Panel(
            "timeseries",
            "Restore latency",
            "Time before each task's body. Good: p99 under 50 ms and flat. Rising with load: the Redis server or the workers are busy. "
            "Dots are traces.",
            "s",
            _NO_RESTORES,
            tuple(
                Query(quantile(q, "", series(RESTORE_DURATION, *PROCESS, suffix="_bucket"), RATE), f"p{q * 100:g}")
                for q in (0.5, 0.95, 0.99)
            ),
            thresholds=((None, "green"), (0.25, "red")),
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
                    ratio(
                        sum_by("docket_name", _COVERED),
                        sum_by("docket_name", rate(series(DOCKET_TASKS_STARTED, JOB, DOCKET), RATE)),
                    ),
                    "{{docket_name}}",
                ),
            ),
            thresholds=((None, "red"), (0.99, "green")),
        ),
    ),
)

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
            (Query(sum_by("outcome", rate(series(CAPTURES, *PROCESS, DOCKET), RATE)), "{{outcome}}"),),
            stacked=True,
            colors=_OUTCOMES,
            width=6,
        ),
        Panel(
            "timeseries",
            "Submissions without a caller",
            "Share of tasks submitted without a caller, by docket. Good: 0, or steady where taskctx.anonymous() says that it is "
            "meant. A step up of what is not meant: a deploy lost the caller before the submission, and above 5 % "
            "TaskCtxAnonymousSubmissions warns.",
            "percentunit",
            _NO_SAVES,
            tuple(
                Query(
                    ratio(
                        sum_by(
                            "docket_name",
                            rate(series(ANONYMOUS_SUBMISSIONS, f'meant="{meant}"', *PROCESS, DOCKET), RATE),
                        ),
                        sum_by("docket_name", rate(series(CAPTURES, *PROCESS, DOCKET), RATE)),
                    ),
                    f"{{{{docket_name}}}}, {words}",
                )
                for meant, words in (("no", "not meant"), ("yes", "meant"))
            ),
            width=6,
            maximum=1,
        ),
        Panel(
            "timeseries",
            "Saves",
            "Snapshots stored; skipped are duplicates of tasks already scheduled. Good: follows your traffic, none failed. "
            "Failed: each is a task refused, see the reason in the logs and the next panel.",
            "ops",
            _NO_SAVES,
            (Query(sum_by("outcome", rate(series(SAVES, *PROCESS), RATE)), "{{outcome}}"),),
            stacked=True,
            colors=_OUTCOMES,
            width=6,
        ),
        Panel(
            "timeseries",
            "Save failures by reason",
            "backend_*: Redis is away or slow. too_large: a caller brings more than max_snapshot_bytes. carried_invalid: a carried "
            "value is not JSON. Not scheduled: saved, and then Docket failed. Without TIME, TTL: the Redis user may not ask, "
            "see docs/deploy.md. Good: zero.",
            "ops",
            "0: no failed saves in this time range",
            (
                Query(or_none(sum_by("reason", rate(series(SAVE_FAILURES, *PROCESS), RATE)), "reason"), "{{reason}}"),
                Query(
                    or_none(sum_by("reason", rate(series(SCHEDULE_FAILURES, *PROCESS), RATE)), "reason"),
                    "not scheduled: {{reason}}",
                ),
                Query(
                    or_none(sum_by("command", rate(series(COMMANDS_REFUSED, *PROCESS), RATE)), "command"),
                    "without {{command}}",
                ),
            ),
            at_least=0.1,
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
                    sum_by("field", rate(series(CAPTURE_FIELDS, 'result="captured"', *PROCESS), RATE))
                    + "\n/ ignoring (field) group_left ()\n"
                    + f"({sum_by('', rate(series(CAPTURES, *PROCESS), RATE))} > 0)",
                    "{{field}}",
                ),
            ),
            maximum=1,
        ),
        Panel(
            "timeseries",
            "Dropped by policy",
            "Captures in which headers or baggage were left out by headers_deny or baggage_keys. Good: steady: credentials are always "
            "left out. A step up means that a client sends something new.",
            "ops",
            _NO_SAVES,
            (Query(sum_by("field", rate(series(CAPTURE_FIELDS, 'result="dropped"', *PROCESS), RATE)), "{{field}}"),),
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
                        quantile(q, "", series(SAVE_DURATION, *PROCESS, suffix="_bucket"), RATE), f"save p{q * 100:g}"
                    )
                    for q in (0.5, 0.99)
                ),
                Query(
                    quantile(0.99, "", series(CAPTURE_DURATION, *PROCESS, DOCKET, suffix="_bucket"), RATE),
                    "capture p99",
                ),
            ),
        ),
        Panel(
            "timeseries",
            "Requests begun in another's context",
            "Requests that the server (uvicorn, of large bodies and pipelined requests) began in the context of the one before on their connection. taskctx runs "
            "them in a clean one; what stands outside of its middleware does not. Good: zero. Else start uvicorn with "
            "--reset-contextvars.",
            "ops",
            "0: no such request in this time range",
            (
                Query(
                    or_none(sum_by("instance", rate(series(INHERITED_CONTEXTS, *PROCESS), RATE)), "instance"),
                    "{{instance}}",
                ),
            ),
            width=24,
            height=6,
            at_least=0.1,
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
            (Query(sum_by("le", increase(series(SNAPSHOT_AGE, *PROCESS, suffix="_bucket"), RATE)), "{{le}}"),),
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
                    sum_by("le", increase(series(SNAPSHOT_TTL_REMAINING, *PROCESS, suffix="_bucket"), RATE)), "{{le}}"
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
                Query(quantile(0.99, "", series(SNAPSHOT_AGE, *PROCESS, suffix="_bucket"), RATE), "age p99"),
                Query(f"min({series(SNAPSHOT_TTL, *PROCESS)})", "pending_ttl"),
            ),
            width=12,
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
                        sum_by("", rate(series(SNAPSHOT_TTL_REMAINING, 'le="0.1"', *PROCESS, suffix="_bucket"), RATE)),
                        sum_by("", rate(series(SNAPSHOT_TTL_REMAINING, *PROCESS, suffix="_count"), RATE)),
                    ),
                    "under 10 %",
                ),
            ),
            width=12,
            thresholds=((None, "green"), (0.05, "red")),
            at_least=0.1,
        ),
        Panel(
            "timeseries",
            "Token life left when submitted",
            "What callers' tokens still have to live as their tasks are submitted; 0 is expired. Good: p10 well above the queue's delay and "
            "a task's length together. Near 0 here already: no worker can help; have clients renew their tokens before they ask.",
            "s",
            "no data: no captured token says when it expires",
            _token_life(CREDENTIAL_TTL_AT_CAPTURE),
            width=12,
            thresholds=((None, "red"), (60.0, "green")),
        ),
        Panel(
            "timeseries",
            "Token life left when restored",
            "What callers' tokens (or those they were refreshed to) still have to live as their tasks begin; 0 is expired. Good: p10 well "
            "above a task's own length. Near 0 with plenty left at submission: the queue is too long: add workers, or a refresh_token hook.",
            "s",
            "no data: no restored token says when it expires",
            _token_life(CREDENTIAL_TTL_REMAINING),
            width=12,
            thresholds=((None, "red"), (60.0, "green")),
        ),
        Panel(
            "timeseries",
            "Snapshot size and its limit",
            "Bytes as stored. Good: p99 well under the limit. At the limit, submissions are refused (too_large): narrow "
            "headers_allow or baggage_keys.",
            "bytes",
            _NO_SAVES,
            (
                Query(quantile(0.5, "", series(SNAPSHOT_SIZE, *PROCESS, suffix="_bucket"), RATE), "p50"),
                Query(quantile(0.99, "", series(SNAPSHOT_SIZE, *PROCESS, suffix="_bucket"), RATE), "p99"),
                Query(f"min({series(SNAPSHOT_SIZE_LIMIT, *PROCESS)})", "limit"),
            ),
            width=12,
        ),
        Panel(
            "timeseries",
            "Trace continuity",
            "What restored snapshots knew of their request's trace. continued: linked. unsampled: known, not recorded. absent: "
            "submitted outside any trace. invalid: damaged. Good: no absent where requests are traced.",
            "ops",
            _NO_RESTORES,
            (Query(sum_by("result", rate(series(TRACE_CONTEXTS, *PROCESS), RATE)), "{{result}}"),),
            stacked=True,
            colors=(("continued", "green"), ("unsampled", "blue"), ("absent", "orange"), ("invalid", "red")),
            width=12,
        ),
    ),
)

DASHBOARD = Dashboard(
    OVERVIEW,
    "taskctx / Overview",
    "Do callers' contexts reach their tasks, and if not, why?",
    (_HEALTH, _RESTORING, _SUBMITTING, _LIFETIME),
)
