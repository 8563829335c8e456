"""The processes by their metrics: which cannot be seen, which run without taskctx, which differ from the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from taskctx.errors import Reason
from taskctx.telemetry import names

from ..operating.fleet import TASKS_STARTED, Process
from ..operating.words import counted, listed
from .finding import Finding, Severity, ok
from .keyrings import check_keys
from .unseen import Workers, check_unseen

DECRYPT = (Reason.DECRYPT_UNKNOWN_KEY, Reason.DECRYPT_FAILED, Reason.PLAINTEXT_REFUSED)
COVERED = 0.9
"""Share of a process's tasks that are restored before their body, at least, where all is well."""


def check_fleet(
    processes: Sequence[Process],
    before: Mapping[str, Process],
    workers: Mapping[str, Workers],
    stored: Collection[str] = (),
) -> Iterator[Finding]:
    """Judge the processes.

    Args:
        processes: as they are now.
        before: as they were an hour ago, by instance; empty counts from their start.
        workers: those that are alive, by docket.
        stored: the ids of the keys that stored snapshots are sealed with.
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
        yield from _uncovered(each)
        yield from _failures(each, before.get(each.instance, Process(each.instance)))
    for docket, alive in workers.items():
        yield from check_unseen(docket, alive, up)


def _down(process: Process) -> Finding:
    return Finding(
        "metrics",
        Severity.ERROR,
        f"{process.instance} gives no metrics: {process.down}",
        "What that process loses is not seen, and no alert fires for it.",
        "Start the worker with --metrics-port (or serve prometheus_client's registry), and check address and firewall.",
    )


def _without_taskctx(process: Process) -> Finding:
    return Finding(
        "metrics",
        Severity.ERROR,
        f"{process.instance} gives metrics, and none of taskctx's",
        "Either the process runs without taskctx, and its tasks as nobody, or it counts where nobody looks.",
        "Give the worker taskctx.worker_dependencies, leave TASKCTX_METRICS on, and serve the registry that taskctx "
        "counts in.",
    )


def _versions(processes: Sequence[Process]) -> Finding:
    versions = {each.labels.get("version", "") for process in processes for each in process.find(names.BUILD_INFO.name)}
    what = f"{counted(len(processes), 'process', 'processes')} with taskctx {', '.join(sorted(versions))}"
    if len(versions) == 1:
        return ok("versions", what)
    return Finding(
        "versions",
        Severity.WARNING,
        what,
        "Fine while a deploy is under way. Left like that, what is fixed in one is still wrong in the other.",
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
            "It runs workers without taskctx.worker_dependencies: their tasks run as nobody, and that is not counted.",
            "Start them with --dependencies taskctx:worker_dependencies, or Worker(docket, "
            "dependencies=taskctx.worker_dependencies).",
            docket,
        )


def _failures(process: Process, before: Process) -> Iterator[Finding]:
    now, then = (each.by("reason", names.RESTORE_FAILURES.name) for each in (process, before))
    # a counter that is lower than it was began anew
    grown = {reason: count - then.get(reason, 0.0) for reason, count in now.items()}
    grown = {reason: now[reason] if change < 0 else change for reason, change in grown.items()}
    since = "in the last hour" if before.samples else "since it started"
    for reason, count in sorted(grown.items()):
        if count < 1:
            continue
        keys = reason in DECRYPT
        yield Finding(
            "restores",
            Severity.ERROR if keys else Severity.WARNING,
            f"{process.instance} did not restore {counted(round(count), 'context')} fully {since} ({reason})",
            f"{_sentence(reason)} Those tasks ran without what was lost, or were failed.",
            "Compare its TASKCTX_ENCRYPTION_KEYS with the submitters'; runbook TaskCtxSnapshotUnreadable."
            if keys
            else "Runbook TaskCtxRestoreErrorBudgetBurn has the way from each reason to its cause.",
        )


def _sentence(reason: str) -> str:
    """What is meant by a reason, which may be a newer taskctx's."""
    text = Reason(reason).explanation if reason in set(Reason) else "see the changelog of the taskctx that runs there"
    return f"{text[0].upper()}{text[1:]}."
