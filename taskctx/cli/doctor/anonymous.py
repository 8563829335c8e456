"""Tasks that a process submits without a caller, where tasks should have one."""

from __future__ import annotations

from collections.abc import Iterator

from taskctx.telemetry import names

from ..operating.fleet import Process
from ..operating.words import counted
from .finding import Finding, Severity


def check_anonymous(process: Process, before: Process, seconds: float) -> Iterator[Finding]:
    """Judge the submissions of a process since ``before``: its reading of ``seconds`` ago, or empty for its start.

    There is no finding where no task of a docket ever had a caller and contexts are not sealed.
    """
    submitted = process.grown("docket_name", names.CAPTURES.name, before)
    unmeant = process.grown("docket_name", names.ANONYMOUS_SUBMISSIONS.name, before, meant="no")
    seals = any(process.find(names.ENCRYPTION_KEY_INFO.name))
    for docket, count in sorted(unmeant.items()):
        if count < 1 or not (seals or _has_callers(process, docket)):
            continue
        of = counted(round(submitted.get(docket, count)), "task")
        yield Finding(
            "anonymous",
            Severity.WARNING,
            f"{process.instance} submitted {count:,.0f} of {of} without a caller {process.since(before, seconds)}",
            "They are not marked as anonymous, and they run anonymous or were refused. Most often the authentication "
            "binds the caller too briefly, or in another thread.",
            "With TASKCTX_ON_ANONYMOUS=warn the log names the tasks. Submit tasks that need no caller inside "
            "taskctx.anonymous(). Runbook TaskCtxAnonymousSubmissions.",
            docket,
        )


def _has_callers(process: Process, docket: str) -> bool:
    """Whether any task that the process submitted to the docket had a caller."""
    anonymous = process.total(names.ANONYMOUS_SUBMISSIONS.name, docket_name=docket)
    return process.total(names.CAPTURES.name, docket_name=docket) > anonymous
