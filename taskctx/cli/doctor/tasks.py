"""Checks of a docket's tasks: waiting and running tasks, and the results of finished tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from taskctx.settings import Settings

from ..operating.words import counted, duration, listed
from .finding import Finding, Severity, ok
from .stored import GONE
from .survey import DocketSurvey, Run, Survey
from .workers import alive


def check_tasks(docket: DocketSurvey, survey: Survey, settings: Settings, since: float) -> Iterator[Finding]:
    """Judge the waiting tasks, the running tasks, and the tasks that ended within ``since`` seconds."""
    pending = docket.pending
    ours = [run for run in pending if run.task is not None]
    yield _waiting(docket, ours, survey.now)
    yield from _stranded(docket, survey.now)
    yield from _without_context(docket)
    yield from _lost(docket, [run for run in ours if run.snapshot_ttl == GONE])
    yield from _about_to_be_lost(docket, [run for run in ours if run.snapshot_ttl >= 0], survey.now)
    recent = [run for run in docket.runs if run.ended > survey.now - since]
    yield from _failed(docket, recent, survey.now)
    yield from _untouched(docket, recent, settings)


def _waiting(docket: DocketSurvey, pending: Sequence[Run], now: float) -> Finding:
    waited = _longest_wait(pending, now)
    backlog = f", the longest for {duration(waited)} beyond its time" if waited > 1 else ""
    running = sum(run.is_running for run in docket.runs)
    run = f"; {counted(running, 'runs', 'run')}" if running else ""
    return ok("tasks", f"{counted(len(pending), 'task waits', 'tasks wait')}{backlog}{run}", docket.name)


def _stranded(docket: DocketSurvey, now: float) -> Iterator[Finding]:
    """Running tasks of a dead worker: Docket gives them to another worker after its redelivery timeout."""
    living = alive(docket, now)
    stranded: dict[str, list[Run]] = {}
    for run in docket.runs:
        if run.is_running and run.worker not in living:
            stranded.setdefault(run.worker, []).append(run)
    for worker, runs in sorted(stranded.items()):
        lost = [run for run in runs if run.task is not None and run.snapshot_ttl == GONE]
        without = f", {len(lost):,} of them without a snapshot" if lost else ""
        yield Finding(
            "stranded",
            Severity.WARNING if living and not lost else Severity.ERROR,
            f"{counted(len(runs), 'task is', 'tasks are')} marked as running on worker {worker}, which is not alive"
            f"{without}: {listed(run.task_key for run in runs)}",
            "That worker ended while it ran them. Another worker gets them after Docket's redelivery timeout (5 "
            "minutes by default), and runs them from the start; tasks without a snapshot have lost their callers.",
            "See why the worker ended (its log, out of memory?)."
            if living
            else "Start a worker for this docket, and see why that one ended (its log, out of memory?).",
            docket.name,
        )


def _without_context(docket: DocketSurvey) -> Iterator[Finding]:
    """Tasks of ``docket.add``.  An automatic task has its function's name as its key, and does not count."""
    foreign = [run for run in docket.runs if run.task is None and run.task_key != run.function]
    if foreign:
        waiting = sum(run.is_pending for run in foreign)
        yield Finding(
            "added",
            Severity.WARNING,
            f"{counted(len(foreign), 'task was', 'tasks were')} added without taskctx.add, {waiting:,} of which "
            f"wait{'s' if waiting == 1 else ''}: {listed({run.function or '?' for run in foreign})}",
            "They have no caller, and run anonymous: neither a restore nor a failure is counted.",
            "Submit them with taskctx.add, replace or add_many, inside taskctx.anonymous() where no caller is meant.",
            docket.name,
        )


def _lost(docket: DocketSurvey, lost: Sequence[Run]) -> Iterator[Finding]:
    lost = [run for run in lost if run.task not in docket.elsewhere]
    if lost:
        yield Finding(
            "lost",
            Severity.ERROR,
            f"{counted(len(lost), 'waiting task')} {_has(lost)} no snapshot: {listed(run.task_key for run in lost)}",
            "They will run anonymous, or be failed (on_restore_failure). Their snapshots expired in the backlog, were "
            "evicted, or were never saved.",
            "Have their callers submit them again. Add workers or raise TASKCTX_PENDING_TTL on the submitters if the "
            "backlog is long; see eviction above; see runbook TaskCtxSnapshotMissing.",
            docket.name,
        )


def _about_to_be_lost(docket: DocketSurvey, pending: Sequence[Run], now: float) -> Iterator[Finding]:
    late = [run for run in pending if run.due - now > run.snapshot_ttl]
    if late:
        yield Finding(
            "ttl",
            Severity.ERROR,
            f"{counted(len(late), 'snapshot')} will expire before the tasks are due: "
            f"{listed(run.task_key for run in late)}",
            "The tasks will run anonymous, or be failed.",
            "EXPIRE the snapshots later, and find who gave them so short a TTL (TaskContextSnapshot.save).",
            docket.name,
        )
    waited = _longest_wait(pending, now)
    short = [run for run in pending if run.due <= now and run.snapshot_ttl < waited]
    if short:
        shortest = min(run.snapshot_ttl for run in short)
        yield Finding(
            "ttl",
            Severity.WARNING,
            f"tasks have been waiting for up to {duration(waited)}, and the snapshots of {len(short):,} of them have "
            f"less than that left, down to {duration(shortest) if shortest else 'nothing'}",
            "If they wait as long again, they lose their callers.",
            "Add workers now, or EXPIRE the snapshots later (runbook TaskCtxSnapshotTTLHeadroomLow); then raise "
            "TASKCTX_PENDING_TTL above the longest backlog.",
            docket.name,
        )


def _failed(docket: DocketSurvey, recent: Sequence[Run], now: float) -> Iterator[Finding]:
    """Failed restores by worker: a worker that fails tasks where others do not may have another keyring."""
    failed = Counter(run.worker for run in recent if run.context_failed)
    for worker, count in sorted(failed.items()):
        others = sum(run.state == "completed" and run.worker != worker for run in recent)
        last = max(run.ended for run in recent if run.context_failed and run.worker == worker)
        yield Finding(
            "restores",
            Severity.ERROR,
            f"{counted(count, 'task')} failed on worker {worker} because the context could not be restored"
            + (f", while other workers completed {others:,}" if others else "")
            + f"; the last {duration(max(0.0, now - last))} ago",
            "That worker may lack a key that the submitters seal with (TASKCTX_ENCRYPTION_KEYS), or their snapshots "
            "are gone.",
            "Look for reason= in its log (logger taskctx), and run the doctor in its environment. If it is mended: "
            "--since leaves out what was before.",
            docket.name,
        )


def _untouched(docket: DocketSurvey, recent: Sequence[Run], settings: Settings) -> Iterator[Finding]:
    """Finished tasks with a long-lived snapshot: their worker did not shorten it, so it did not restore the task."""
    done = [run for run in recent if run.task is not None and run.state == "completed"]
    untouched = Counter(run.worker for run in done if run.snapshot_ttl > settings.completed_ttl)
    total = Counter(run.worker for run in done)
    for worker, count in sorted(untouched.items()):
        yield Finding(
            "dependencies",
            Severity.ERROR if count == total[worker] else Severity.WARNING,
            f"worker {worker} completed {counted(total[worker], 'task')}, and left {count:,} of their snapshots alone",
            "A worker that is given taskctx.worker_dependencies restores a task's caller and shortens the snapshot "
            "afterwards. Without it, every task runs anonymous, and nothing counts it.",
            "Start it with --dependencies taskctx:worker_dependencies, or Worker(docket, "
            "dependencies=taskctx.worker_dependencies). If it is: see its log for contexts that were not restored, "
            "and whether its TASKCTX_COMPLETED_TTL is longer than here.",
            docket.name,
        )


def _longest_wait(pending: Sequence[Run], now: float) -> float:
    return max((now - run.due for run in pending if run.due <= now), default=0.0)


def _has(runs: Sequence[Run]) -> str:
    return "has" if len(runs) == 1 else "have"
