"""The tasks of a docket: those that wait, and what became of those that ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from taskctx.settings import Settings

from ..operating.words import counted, duration, listed
from .finding import Finding, Severity, ok
from .stored import GONE
from .survey import DocketSurvey, Run, Survey


def check_tasks(docket: DocketSurvey, survey: Survey, settings: Settings) -> Iterator[Finding]:
    pending = docket.pending
    ours = [run for run in pending if run.task is not None]
    yield _waiting(docket, ours, survey.now)
    yield from _without_context(docket, pending)
    yield from _lost(docket, [run for run in ours if run.snapshot_ttl == GONE])
    yield from _about_to_be_lost(docket, [run for run in ours if run.snapshot_ttl >= 0], survey.now)
    yield from _failed(docket)
    yield from _untouched(docket, settings)


def _waiting(docket: DocketSurvey, pending: Sequence[Run], now: float) -> Finding:
    waited = _longest_wait(pending, now)
    backlog = f", the longest for {duration(waited)} beyond its time" if waited > 1 else ""
    return ok("tasks", f"{counted(len(pending), 'task')} wait{'s' if len(pending) == 1 else ''}{backlog}", docket.name)


def _without_context(docket: DocketSurvey, pending: Sequence[Run]) -> Iterator[Finding]:
    foreign = [run for run in pending if run.task is None]
    if foreign:
        were = "was" if len(foreign) == 1 else "were"
        yield ok("tasks", f"{counted(len(foreign), 'waiting task')} {were} added without taskctx.add", docket.name)


def _lost(docket: DocketSurvey, lost: Sequence[Run]) -> Iterator[Finding]:
    if lost:
        yield Finding(
            "lost",
            Severity.ERROR,
            f"{counted(len(lost), 'waiting task')} {_has(lost)} no snapshot: {listed(run.task_key for run in lost)}",
            "They will run as nobody, or be failed (on_restore_failure). Their snapshots expired in the backlog, were "
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
            "The tasks will run as nobody, or be failed.",
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


def _failed(docket: DocketSurvey) -> Iterator[Finding]:
    """By worker: one that fails tasks where others do not has another keyring than they have."""
    failed = Counter(run.worker for run in docket.runs if run.context_failed)
    for worker, count in sorted(failed.items()):
        others = sum(run.state == "completed" and run.worker != worker for run in docket.runs)
        yield Finding(
            "restores",
            Severity.ERROR,
            f"{counted(count, 'task')} failed on worker {worker} because the context could not be restored"
            + (f", while other workers completed {others:,}" if others else ""),
            "That worker may lack a key that the submitters seal with (TASKCTX_ENCRYPTION_KEYS), or their snapshots "
            "are gone.",
            "Look for reason= in its log (logger taskctx), and run the doctor in its environment.",
            docket.name,
        )


def _untouched(docket: DocketSurvey, settings: Settings) -> Iterator[Finding]:
    """A snapshot is shortened when its task is done; one that was not was never looked at by the worker."""
    done = [run for run in docket.runs if run.task is not None and run.state == "completed"]
    untouched = Counter(run.worker for run in done if run.snapshot_ttl > settings.completed_ttl)
    total = Counter(run.worker for run in done)
    for worker, count in sorted(untouched.items()):
        yield Finding(
            "dependencies",
            Severity.ERROR if count == total[worker] else Severity.WARNING,
            f"worker {worker} completed {counted(total[worker], 'task')}, and left {count:,} of their snapshots alone",
            "A worker that is given taskctx.worker_dependencies restores a task's caller and shortens the snapshot "
            "afterwards. Without it, every task runs as nobody, and nothing counts it.",
            "Start it with --dependencies taskctx:worker_dependencies, or Worker(docket, "
            "dependencies=taskctx.worker_dependencies). If it is: see its log for contexts that were not restored, "
            "and whether its TASKCTX_COMPLETED_TTL is longer than here.",
            docket.name,
        )


def _longest_wait(pending: Sequence[Run], now: float) -> float:
    return max((now - run.due for run in pending if run.due <= now), default=0.0)


def _has(runs: Sequence[Run]) -> str:
    return "has" if len(runs) == 1 else "have"
