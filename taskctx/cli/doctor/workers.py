"""Checks of a docket's workers, by the heartbeats in Docket's keys."""

from __future__ import annotations

from collections.abc import Iterator

from ..operating.layout import is_fastmcps_tool
from ..operating.words import counted, duration, listed
from .backend import SKEW
from .finding import Finding, Severity, not_looked, ok
from .survey import DocketSurvey, Survey
from .unseen import Workers

HEARTBEAT_TIMEOUT = 10.0
"""Seconds without a heartbeat after which Docket takes a worker for dead, by default."""


def alive(docket: DocketSurvey, now: float) -> set[str]:
    """The names of the workers with a recent heartbeat."""
    return {name for name, seen in docket.heartbeats.items() if now - seen < HEARTBEAT_TIMEOUT}


def workers_of(docket: DocketSurvey, now: float) -> Workers:
    """The living workers, and those of them that run FastMCP's tools."""
    living = frozenset(alive(docket, now))
    with_tools = {name for name, functions in docket.abilities.items() if any(map(is_fastmcps_tool, functions))}
    return Workers(living, living & with_tools)


def check_workers(docket: DocketSurvey, survey: Survey) -> Iterator[Finding]:
    living = alive(docket, survey.now)
    if living:
        yield ok("workers", f"{counted(len(living), 'worker')} alive: {listed(living)}", docket.name)
    else:
        yield _no_worker(docket, survey)
    for name, seen in docket.heartbeats.items():
        if seen - survey.now > SKEW:
            yield Finding(
                "clock",
                Severity.WARNING,
                f"the clock of worker {name} is {duration(seen - survey.now)} ahead of the server's",
                "It starts tasks early by this time, and valid tokens count as expired.",
                "Have its host keep its time with NTP.",
                docket.name,
            )


def _no_worker(docket: DocketSurvey, survey: Survey) -> Finding:
    waiting = [run for run in docket.pending if run.due <= survey.now]
    what = "no worker is alive" + (f", and {counted(len(waiting), 'task')} should be running" if waiting else "")
    if survey.is_full:
        return not_looked("workers", f"{what}, or none can say that it is: the server is full (memory)", docket.name)
    return Finding(
        "workers",
        Severity.ERROR if waiting else Severity.WARNING,
        what,
        "No task runs, and the snapshots of waiting tasks expire.",
        "Start workers for this docket on this server: docket worker --docket NAME --dependencies "
        "taskctx:worker_dependencies.",
        docket.name,
    )
