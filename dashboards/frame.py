"""What all four dashboards share: variables, filters, links between them and annotations."""

from __future__ import annotations

from taskctx.telemetry.names import BUILD_INFO, REGISTRY_ENTRIES, RESTORES

from .model import Link, Variable
from .promql import series

TAG = "taskctx"
OVERVIEW, WORKERS, REGISTRIES, SLO = "taskctx-overview", "taskctx-workers", "taskctx-registries", "taskctx-slo"

JOB = 'job=~"$job"'
INSTANCE = 'instance=~"$instance"'
DOCKET = 'docket_name=~"$docket"'
REGISTRY = 'registry=~"$registry"'
PROCESS = (JOB, INSTANCE)
"""Filters of metrics by process; metrics by docket need :data:`DOCKET` too."""

VARIABLES: tuple[Variable, ...] = (
    Variable("job", "Job", f"label_values({series(BUILD_INFO)}, job)", "Scrape jobs that expose taskctx metrics."),
    Variable(
        "instance",
        "Instance",
        f"label_values({series(BUILD_INFO, JOB)}, instance)",
        "Processes: servers that submit, and workers.",
    ),
    Variable(
        "docket",
        "Docket",
        f"label_values({series(RESTORES, JOB)}, docket_name)",
        "Dockets, by the name they were opened with.",
    ),
    Variable(
        "registry",
        "Registry",
        f"label_values({series(REGISTRY_ENTRIES, JOB)}, registry)",
        "Registries of live objects: session, server.",
    ),
)

LAST_SEEN = "6h"
"""How long a process that is gone is shown as down; TaskCtxTargetDown fires for as long."""

KNOWN = f"last_over_time({series(BUILD_INFO, *PROCESS)}[{LAST_SEEN}])"
DOWN = f"(up{{{JOB}, {INSTANCE}}} == 0 and on (job, instance) {KNOWN})"
"""Processes that exposed taskctx metrics and do not answer now."""

FIRING_ALERTS = (
    "count by (severity) ("
    'ALERTS{alertname=~"TaskCtx.*", alertstate="firing", severity=~"critical|warning", job=~"$job|"})'
)
"""One region for each severity, because the regions of many alerts would lie one on the other."""

VERSION_CHANGES = (
    f"count by (job, version) ({series(BUILD_INFO, JOB)}) "
    f"unless on (job, version) count by (job, version) ({series(BUILD_INFO, JOB)} offset $__interval)"
)

_KEPT = "${__url_time_range}&${job:queryparam}&${docket:queryparam}&${datasource:queryparam}&${tempo:queryparam}"


def to_dashboard(title: str, uid: str, extra: str = "") -> Link:
    """A link to another dashboard that keeps time and variables."""
    return Link(title, f"/d/{uid}?{_KEPT}{extra}")


RUNBOOKS = "https://github.com/taskctx/taskctx/blob/main/docs/runbooks"
RUNBOOK = Link("Runbook", RUNBOOKS + "/${__data.fields.alertname}.md")

TO_WORKER = to_dashboard("This worker", WORKERS, "&var-instance=${__field.labels.instance}")
ROW_TO_WORKER = to_dashboard("This worker", WORKERS, "&var-instance=${__data.fields.instance}")
"""Like :data:`TO_WORKER`, for the row of a table, where labels are columns."""


def to_traces(title: str, traceql: str) -> Link:
    """A link to the traces that a TraceQL query finds, in the Tempo data source.

    Without ``&``: Grafana decodes a link as a whole before it is followed, so that what comes after one is cut off,
    however it was encoded.  One filter after the other, ``{a} | {b}``, finds what ``{a && b}`` finds.
    """
    return explore(title, "${tempo}", queryType="traceql", query=traceql)


def explore(title: str, datasource: str, **query: str) -> Link:
    """A link to Grafana's Explore, with a query to a data source, for the time that the panel shows."""
    fields = "".join(f',"{name}":{_json(value)}' for name, value in query.items())
    queries = '{"datasource":"' + datasource + '","queries":[{"refId":"A"' + fields + "}],"
    window = '"range":{"from":"${__from}","to":"${__to}"}}'
    return Link(title, "/explore?schemaVersion=1&orgId=${__org.id}&panes=" + _encoded('{"t":' + queries + window + "}"))


def _json(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _encoded(text: str) -> str:
    """The text, percent-encoded except for Grafana's own ``${...}``."""
    for plain, code in (("%", "%25"), ('"', "%22"), (" ", "%20"), ("&", "%26"), ("=", "%3D"), ("\\", "%5C")):
        text = text.replace(plain, code)
    return text


FAILED_TRACES = to_traces("Traces of failed restores", '{name="taskctx.restore"} | {span.taskctx.outcome="failed"}')
TASK_TRACES = to_traces(
    "Traces of this task's restores",
    '{name="taskctx.restore"} | {span.taskctx.outcome!="ok"} | {span.docket.task="${__data.fields.docket_task}"}',
)
REASON_TRACES = to_traces(
    "Traces of failures with this reason", '{name="taskctx.restore"} | {span.error.type="${__field.labels.reason}"}'
)
DEGRADED_TRACES = to_traces(
    "Traces of degraded restores", '{name="taskctx.restore"} | {span.taskctx.outcome="degraded"}'
)
"""Degraded restores are no errors, so their spans have no ``error.type``."""
