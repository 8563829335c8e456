"""The examination from start to end, without its output."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from taskctx._runtime import current_settings

from .._problem import Problem
from ..operating.fleet import Process, read_endpoints, read_prometheus
from ..operating.server import connected
from ..operating.words import listed
from .backend import check_backend
from .buckets import check_buckets
from .elsewhere import check_elsewhere
from .finding import Finding, Section, Severity, not_looked
from .fleet import check_fleet
from .permissions import check_permissions
from .snapshots import check_snapshots
from .survey import Survey, survey
from .tasks import check_tasks
from .tracing import check_environment, check_traces
from .unseen import Workers
from .versions import check_versions
from .workers import check_workers, workers_of


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the examination.

    Attributes:
        since: seconds; older failures are left out, where their time is known.
    """

    url: str = field(repr=False)
    dockets: Sequence[str]
    metrics: Sequence[str] = field(repr=False)
    prometheus: str | None = field(repr=False)
    limit: int
    since: float = 3600.0


async def examine(options: Options) -> list[Section]:
    """All findings: about the server, each docket, this environment, and the processes."""
    current_settings()  # first of all: a setting that is not valid is reported at once
    sections: list[Section] = []
    workers: dict[str, Workers] = {}
    stored: set[str] = set()
    permissions: list[Finding] = []
    seen: Survey | None = None
    try:
        async with connected(options.url) as server:
            permissions.append(await check_permissions(server, options.dockets))
            seen = await survey(server, options.dockets, options.limit)
    except Problem as problem:
        why = "Where taskctx and Docket cannot reach it, nothing is saved, scheduled or run."
        sections.append(Section("server", [*permissions, _error("server", problem, why)]))
    else:
        sections += _judge(seen, permissions, options.since)
        workers = {docket.name: workers_of(docket, seen.now) for docket in seen.dockets}
        stored = {key_id for docket in seen.dockets for key_id in docket.key_ids}
    sections.append(Section("environment", [*check_versions(), *check_environment(os.environ)]))
    processes = [finding async for finding in _processes(options, workers, stored, seen)]
    sections.append(Section("processes", processes))
    return [section for section in sections if section.findings]


def _judge(seen: Survey, permissions: Sequence[Finding], since: float) -> Iterator[Section]:
    settings = current_settings()
    server = [*check_backend(seen), *permissions]
    server += [_unknown(name, seen.known) for name in seen.unknown]
    if not seen.dockets and not seen.unknown:
        server.append(_none(seen))
    yield Section("server", server)
    for docket in seen.dockets:
        findings = (
            check_workers(docket, seen),
            check_snapshots(docket, seen, settings),
            check_tasks(docket, seen, settings, since),
            check_traces(docket, os.environ),
        )
        yield Section(f"docket {docket.name}", list(chain.from_iterable(findings)))


def _none(seen: Survey) -> Finding:
    others = seen.other_databases
    hold = f"database {others[0]} holds" if len(others) == 1 else f"databases {listed(map(str, others))} hold"
    return Finding(
        "dockets",
        Severity.WARNING,
        f"no docket is in use in database {seen.database} of this server" + (f"; {hold} keys" if others else ""),
        "It has no worker, no task and no snapshot, so there was nothing to look at.",
        "Check --url, and the number of the database at its end, against the DOCKET_URL of servers and workers.",
    )


def _unknown(name: str, known: Sequence[str]) -> Finding:
    return Finding(
        "dockets",
        Severity.ERROR,
        f"there is no docket {name} on this server",
        "It has no worker, no task and no snapshot, so there was nothing to look at.",
        f"Check --docket; those that are here: {', '.join(known)}."
        if known
        else "Check --docket, and --url with the number of its database: no other docket is here either.",
        name,
    )


async def _processes(
    options: Options, workers: Mapping[str, Workers], stored: Collection[str], seen: Survey | None
) -> AsyncGenerator[Finding]:
    if not options.metrics and options.prometheus is None:
        yield not_looked("metrics", "not looked at: name endpoints with --metrics, or a Prometheus with --prometheus")
        return
    processes = await read_endpoints(options.metrics)
    before: dict[str, Process] = {}
    if options.prometheus is not None:
        ago = f"{round(options.since)}s"
        try:
            scraped = await read_prometheus(options.prometheus)
            before = {each.instance: each for each in await read_prometheus(options.prometheus, ago=ago)}
        except Problem as problem:
            yield _error("prometheus", problem, "Where Prometheus is not up, no alert fires.")
        else:
            processes += scraped
            if not scraped:
                yield _scrapes_nothing()
            for finding in check_buckets(scraped):
                yield finding
    for finding in check_fleet(processes, before, workers, stored, options.since):
        yield finding
    if seen is not None and seen.complete:
        for finding in check_elsewhere(processes, {*workers, *seen.known}, options.dockets):
            yield finding


def _scrapes_nothing() -> Finding:
    return Finding(
        "prometheus",
        Severity.ERROR,
        "Prometheus knows no process of taskctx's",
        "Dashboards are empty, and no alert fires.",
        "Have it scrape every server and worker: docs/quickstart/dashboards.md has a configuration.",
    )


def _error(check: str, problem: Problem, why: str) -> Finding:
    return Finding(check, Severity.ERROR, str(problem), why, problem.hint)
