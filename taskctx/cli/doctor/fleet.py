"""Checks of the processes by their metrics: whether they answer, have taskctx, and agree with each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from taskctx.errors import Reason
from taskctx.telemetry import names

from ..operating.fleet import TASKS_STARTED, Process
from ..operating.layout import is_fastmcps_tool
from ..operating.words import counted, listed
from .anonymous import check_anonymous
from .finding import Finding, Severity, ok
from .keyrings import check_keys
from .unseen import Workers, check_unseen

_UNREADABLE = "TaskCtxSnapshotUnreadable"
_EXPIRING = "TaskCtxCredentialExpiring"
_SLOW = "TaskCtxRestoreSlow"
RUNBOOKS = {
    Reason.MISSING: "TaskCtxSnapshotMissing",
    Reason.BACKEND_TIMEOUT: _SLOW,
    Reason.BACKEND_ERROR: _SLOW,
    Reason.DECRYPT_UNKNOWN_KEY: _UNREADABLE,
    Reason.DECRYPT_FAILED: _UNREADABLE,
    Reason.PLAINTEXT_REFUSED: _UNREADABLE,
    Reason.MALFORMED: _UNREADABLE,
    Reason.SCOPE_MISMATCH: _UNREADABLE,
    Reason.SCHEMA_UNSUPPORTED: "TaskCtxSchemaUnreadable",
    Reason.NOT_RESTORED: "TaskCtxCoverageLow",
    Reason.TOO_LARGE: "TaskCtxSaveErrors",
    Reason.ANONYMOUS: "TaskCtxAnonymousSubmissions",
    Reason.CREDENTIAL_EXPIRED: _EXPIRING,
    Reason.CREDENTIAL_REFRESH_FAILED: _EXPIRING,
}
"""The runbook for each reason of a failed or degraded restore; all other reasons have ``ALL_REASONS``."""

ALL_REASONS = "TaskCtxRestoreErrorBudgetBurn"
DECRYPT = (Reason.DECRYPT_UNKNOWN_KEY, Reason.DECRYPT_FAILED, Reason.PLAINTEXT_REFUSED)
COVERED = 0.9
"""The smallest share of restored tasks of a process at which all is well."""


def check_fleet(
    processes: Sequence[Process],
    before: Mapping[str, Process],
    workers: Mapping[str, Workers],
    stored: Collection[str] = (),
    since: float = 3600.0,
) -> Iterator[Finding]:
    """Judge the processes.

    Args:
        processes: the current readings.
        before: the readings of ``since`` seconds ago, by instance; empty means that counts begin at the start.
        workers: the living workers, by docket.
        stored: the ids of the keys that stored snapshots are sealed with.
        since: how many seconds ago ``before`` was.
    """
    up = [each for each in processes if each.down is None]
    yield from (_down(each) for each in processes if each.down is not None)
    yield from (_without_taskctx(each) for each in up if not each.has_taskctx)
    ours = [each for each in up if each.has_taskctx]
    if ours:
        yield _versions(ours)
        yield from check_keys(ours, stored)
        yield from _schemas(ours)
    for each in ours:
        earlier = before.get(each.instance, Process(each.instance))
        yield from _uncovered(each)
        yield from _without_dockets_metrics(each, workers)
        yield from _failures(each, earlier, since)
        yield from check_anonymous(each, earlier, since)
    for docket, alive in workers.items():
        yield from check_unseen(docket, alive, up)


def _down(process: Process) -> Finding:
    return Finding(
        "metrics",
        Severity.ERROR,
        f"{process.instance} gives no metrics: {process.down}",
        "Nothing shows which contexts that process loses, and no alert fires for it.",
        "Start the worker with --metrics-port (or serve prometheus_client's registry), and check address and firewall.",
    )


def _without_taskctx(process: Process) -> Finding:
    return Finding(
        "metrics",
        Severity.ERROR,
        f"{process.instance} gives metrics, but none of taskctx's",
        "Either the process runs without taskctx, and its tasks run anonymous; or taskctx counts in a registry that "
        "is not served.",
        "Give the worker taskctx.worker_dependencies (a FastMCP server: taskctx.fastmcp.instrument()), leave "
        "TASKCTX_METRICS on, and serve the registry that taskctx counts in.",
    )


def _without_dockets_metrics(process: Process, workers: Mapping[str, Workers]) -> Iterator[Finding]:
    """A worker with taskctx's series but without Docket's.  FastMCP's workers have none of Docket's by default."""
    works_for = [name for name, works in process.dockets.items() if works and not _is_fastmcps(workers.get(name))]
    if works_for and not process.has_dockets_metrics:
        yield Finding(
            "metrics",
            Severity.WARNING,
            f"{process.instance} restores contexts of {listed(works_for)}, and serves none of Docket's own metrics",
            "Nothing counts the tasks that begin there, so the coverage of restores and its alerts have no "
            "data. Under opentelemetry-instrument the meter provider of --metrics-port is refused.",
            "pip install opentelemetry-exporter-prometheus, and set OTEL_METRICS_EXPORTER=prometheus (with others: "
            "prometheus,otlp) beside --metrics-port.",
        )


def _is_fastmcps(workers: Workers | None) -> bool:
    return workers is not None and bool(workers.living) and workers.living == workers.fastmcp


def _versions(processes: Sequence[Process]) -> Finding:
    versions = {each.labels.get("version", "") for process in processes for each in process.find(names.BUILD_INFO.name)}
    what = f"{counted(len(processes), 'process', 'processes')} with taskctx {', '.join(sorted(versions))}"
    if len(versions) == 1:
        return ok("versions", what)
    return Finding(
        "versions",
        Severity.WARNING,
        what,
        "This is normal during a deploy. Afterwards, a fault that is fixed in one version is still in the other.",
        "Finish the deploy, workers first.",
    )


def _schemas(processes: Sequence[Process]) -> Iterator[Finding]:
    def bound(process: Process, name: str) -> float:
        return process.total(names.SCHEMA_VERSION.name, bound=name)

    written = max(bound(each, "write") for each in processes)
    behind = [each.instance for each in processes if bound(each, "read_max") < written]
    if behind:
        yield Finding(
            "schema",
            Severity.ERROR,
            f"{listed(behind)} cannot read schema {written:.0f}, which others write",
            "They lose the callers of tasks that newer processes submit (schema_unsupported).",
            "Upgrade them: workers first, submitters last; runbook TaskCtxSchemaUnreadable.",
        )


def _uncovered(process: Process) -> Iterator[Finding]:
    started = process.by("docket_name", TASKS_STARTED)
    restored = process.by("docket_name", names.RESTORES.name)
    for docket, count in sorted(started.items()):
        share = restored.get(docket, 0.0) / count if count else 1.0
        if share >= COVERED:
            continue
        yield Finding(
            "dependencies",
            Severity.ERROR if share == 0 else Severity.WARNING,
            f"{process.instance} started {counted(int(count), 'task')} and restored {restored.get(docket, 0.0):,.0f}",
            *(_NOT_INSTRUMENTED if _runs_tools(process, docket) else _WITHOUT_DEPENDENCIES),
            docket,
        )


_WITHOUT_DEPENDENCIES = (
    "It runs workers without taskctx.worker_dependencies: their tasks run anonymous, and that is not counted.",
    (
        "Start them with --dependencies taskctx:worker_dependencies, or Worker(docket, "
        "dependencies=taskctx.worker_dependencies)."
    ),
)
_NOT_INSTRUMENTED = (
    (
        "It runs a FastMCP server's tools without taskctx.fastmcp.instrument(): no trace, no baggage and no carried "
        "values reach their tasks, and nothing is counted."
    ),
    "Call taskctx.fastmcp.instrument() before the server starts, on servers and workers alike.",
)


def _runs_tools(process: Process, docket: str) -> bool:
    return any(map(is_fastmcps_tool, process.by("docket_task", TASKS_STARTED, docket_name=docket)))


def _failures(process: Process, before: Process, seconds: float) -> Iterator[Finding]:
    grown, since = process.grown("reason", names.RESTORE_FAILURES.name, before), process.since(before, seconds)
    for reason, count in sorted(grown.items()):
        if count < 1:
            continue
        keys = reason in DECRYPT
        yield Finding(
            "restores",
            Severity.ERROR if keys else Severity.WARNING,
            f"{process.instance}: {counted(round(count), 'restore was', 'restores were')} not full {since} ({reason})",
            f"{_sentence(reason)} Those runs had no caller or a part of it, or did not run. Every attempt counts.",
            ("Compare its TASKCTX_ENCRYPTION_KEYS with the submitters'. " if keys else "")
            + f"Runbook {runbook_of(reason)}."
            + ("" if before.samples else " --prometheus with --since shows whether it still happens."),
        )


def runbook_of(reason: str) -> str:
    """The runbook for a reason; the reason may come from a newer taskctx."""
    return RUNBOOKS.get(Reason(reason), ALL_REASONS) if reason in set(Reason) else ALL_REASONS


def _sentence(reason: str) -> str:
    """The explanation of a reason; the reason may come from a newer taskctx."""
    text = Reason(reason).explanation if reason in set(Reason) else "see the changelog of the taskctx that runs there"
    return f"{text[0].upper()}{text[1:]}."
