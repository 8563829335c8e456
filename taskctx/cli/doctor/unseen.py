"""Workers that have no metrics among the examined processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taskctx.telemetry import names

from ..operating.fleet import TASKS_STARTED, Process
from ..operating.words import counted, listed
from .finding import Finding, Severity, not_looked, ok


@dataclass(frozen=True, slots=True)
class Workers:
    """The names of a docket's living workers; ``fastmcp`` has those that run FastMCP's tools."""

    living: frozenset[str]
    fastmcp: frozenset[str] = frozenset()


def check_unseen(docket: str, workers: Workers, processes: Sequence[Process]) -> Iterator[Finding]:
    """Match workers with processes, by the processes' metrics.

    Docket's counters name the worker once it has run a task; until then a process shows only its docket.  A FastMCP
    server contains a worker too, which has no metrics at all while it is idle.
    """
    if not workers.living:
        return
    named = {each.instance: set(each.by("docket_worker", TASKS_STARTED, docket_name=docket)) for each in processes}
    unnamed = [each for each in processes if not named[each.instance]]
    unseen = workers.living - set[str]().union(*named.values())
    missing = len(unseen) - sum(each.works_for(docket) for each in unnamed)
    if missing <= 0:
        yield ok("metrics", f"metrics of all of {counted(len(workers.living), 'worker')} are served", docket)
        return
    servers = [each.instance for each in unnamed if not each.works_for(docket) and _may_work(each, docket)]
    untold = min(missing, len(unseen & workers.fastmcp), len(servers))
    if untold < missing:
        yield _nowhere(docket, missing - untold, unseen, fastmcp=unseen <= workers.fastmcp)
    if untold:
        yield _untold(docket, untold, unseen & workers.fastmcp, servers)


def _may_work(process: Process, docket: str) -> bool:
    """Whether a process may contain an idle worker of the docket: it has taskctx, and this docket or no docket."""
    known = process.by("docket_name", names.RESTORES.name)
    return process.has_taskctx and (docket in known or not known)


def _nowhere(docket: str, missing: int, unseen: frozenset[str], *, fastmcp: bool) -> Finding:
    of = f"{missing} of {listed(unseen)}" if missing < len(unseen) else listed(unseen)
    serve = (
        "Have the process serve prometheus_client's registry (start_http_server in the file that it loads)"
        if fastmcp
        else "Start the worker with --metrics-port"
    )
    return Finding(
        "metrics",
        Severity.WARNING,
        f"the metrics of {counted(missing, 'worker')} are nowhere among those looked at: {of}",
        "No dashboard shows what happens there, and no alert fires for it.",
        f"{serve}, have Prometheus scrape it, and name its endpoint with --metrics.",
        docket,
    )


def _untold(docket: str, untold: int, unseen: frozenset[str], servers: Sequence[str]) -> Finding:
    """Workers that may be idle in an examined process, or may run in another process."""
    of = f"{untold} of {listed(unseen)}" if untold < len(unseen) else listed(unseen)
    return not_looked(
        "metrics",
        f"whether metrics of {counted(untold, 'worker')} are served cannot be told: {of} may be idle in "
        f"{listed(servers)}, where a FastMCP server's own worker shows nothing until it runs a task",
        docket,
    )
