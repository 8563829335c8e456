"""All data on a server that the checks need, read once and in a fixed order.

Records are read after the snapshots, and the snapshots' TTLs after the records.  So a task that makes progress
meanwhile does not look like a task that lost its context.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from docket import Docket

from taskctx._runtime import current_settings
from taskctx._transport.keyspace import escaped

from ..operating.layout import Found, Kind, TaskRef, is_fastmcps, moment, reader, task_of
from ..operating.server import Server
from .dockets import dockets_among
from .memory import is_full
from .stored import GONE, FastMCPSnapshot, Snapshot, read_fastmcp, read_snapshots, ttl_of

SETTLING = 1.0
"""Seconds for a worker to shorten the snapshot of a finished task, before its absence is a finding."""


@dataclass(frozen=True, slots=True)
class Run:
    """Docket's record of a task, and the TTL of the task's snapshot.

    Attributes:
        task: None for a task that was added without taskctx.
        due: when the task is due, in seconds since the epoch.
        worker: the worker that ran the task last.
        function: the name of the task's function.
        ended: when the last run ended, in seconds since the epoch; 0 where no run has ended.
        context_failed: the task failed because its context could not be restored.
    """

    task_key: str
    task: TaskRef | None
    state: str
    due: float
    worker: str = ""
    function: str = ""
    ended: float = 0.0
    context_failed: bool = False
    snapshot_ttl: int = GONE

    @property
    def is_pending(self) -> bool:
        return self.state in {"scheduled", "queued"}

    @property
    def is_running(self) -> bool:
        return self.state == "running"


@dataclass(frozen=True, slots=True)
class DocketSurvey:
    """The stored data of one docket.

    Attributes:
        heartbeats: the last heartbeat of each worker, by the worker's own clock.
        abilities: the tasks that each worker can run, by the worker's own statement.
        elsewhere: the tasks with a snapshot under another key prefix, each with that prefix.
        fastmcp: FastMCP's own snapshots.
    """

    name: str
    snapshots: Sequence[Snapshot] = ()
    runs: Sequence[Run] = ()
    heartbeats: dict[str, float] = field(default_factory=dict[str, float])
    abilities: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    elsewhere: dict[TaskRef, str] = field(default_factory=dict[TaskRef, str])
    fastmcp: Sequence[FastMCPSnapshot] = ()

    @property
    def pending(self) -> list[Run]:
        return [run for run in self.runs if run.is_pending]

    @property
    def key_ids(self) -> set[str]:
        """The ids of taskctx's keys that seal at least one snapshot."""
        return {each.seal.key_id for each in (*self.snapshots, *self.fastmcp) if each.seal.key_id is not None}


@dataclass(frozen=True, slots=True)
class Survey:
    """All data that was read from a server.

    Attributes:
        now: the time by the server's clock.
        clock_offset: seconds by which the server's clock is ahead of this process's clock.
        save_points: the server's ``save`` setting; None where the user may not read it.
        complete: whether every key was scanned.
        unknown: names in ``--docket`` that have no key on the server.
        known: where there are unknown names: the dockets on the server.
        database: the number of the examined database.
    """

    info: dict[str, dict[str, Any]]
    save_points: str | None
    clock_offset: float
    now: float
    dockets: Sequence[DocketSurvey]
    complete: bool
    unknown: Sequence[str] = ()
    known: Sequence[str] = ()
    database: int = 0

    @property
    def is_full(self) -> bool:
        """Whether a node of the server refuses writes because its memory is full."""
        return any(map(is_full, self.info.values()))

    @property
    def other_databases(self) -> list[int]:
        """Other databases of the server that hold keys."""
        names = {name for info in self.info.values() for name in info if re.fullmatch(r"db\d+", name)}
        return sorted({int(name.removeprefix("db")) for name in names} - {self.database})


async def survey(server: Server, names: Sequence[str], limit: int) -> Survey:
    """Read everything about the named dockets; without names, about every docket on the server."""
    info = {name: dict(answer) for name, answer in (await server.info()).items()}
    offset = await server.clock_offset()
    found, complete = await _find(server, names, limit)
    by_docket: dict[str, list[Found]] = {}
    for each in found:
        by_docket.setdefault(each.docket, []).append(each)
    unknown = set(names) - by_docket.keys()
    known: set[str] = set()
    if unknown or not names:
        everything = found if not names else (await _find(server, (), limit))[0]
        known = await dockets_among(server, everything)
    return Survey(
        info=info,
        save_points=await server.config("save"),
        clock_offset=offset,
        now=time.time() + offset,
        dockets=[
            await _survey_docket(server, name, by_docket[name])
            for name in sorted((set(names) - unknown) if names else known)
        ],
        complete=complete,
        unknown=sorted(unknown),
        known=sorted(known),
        database=server.database,
    )


async def _find(server: Server, names: Sequence[str], limit: int) -> tuple[list[Found], bool]:
    """The keys with a meaning, and whether all keys were scanned."""
    read, found, complete = reader(), list[Found](), True
    matches = [f"{escaped(server.docket(name).prefix)}:*" for name in names] or ["*"]
    for match in matches:
        scan = await server.scan(match, limit, read)
        complete = complete and scan.complete
        found += scan.found
    return found, complete


async def _survey_docket(server: Server, name: str, found: Iterable[Found]) -> DocketSurvey:
    docket, by_kind = server.docket(name), dict[Kind, list[Found]]()
    for each in found:
        by_kind.setdefault(each.kind, []).append(each)
    snapshots = await read_snapshots(server, by_kind.get(Kind.SNAPSHOT, []))
    fastmcp = await read_fastmcp(server, [each.key for each in by_kind.get(Kind.FASTMCP_SNAPSHOT, [])])
    elsewhere = {each.task: each.key_prefix for each in by_kind.get(Kind.OTHER_SNAPSHOT, []) if each.task is not None}
    task_keys = {each.task_key for each in by_kind.get(Kind.RECORD, [])}
    runs = await _read_runs(server, docket, sorted(task_keys))
    heartbeats = await _read_heartbeats(server, docket)
    abilities = await _read_abilities(server, docket, list(heartbeats))
    return DocketSurvey(name, snapshots, runs, heartbeats, abilities, elsewhere, fastmcp)


async def _read_heartbeats(server: Server, docket: Docket) -> dict[str, float]:
    (beats,) = await server.ask([lambda pipeline: pipeline.zrange(docket.workers_set, 0, -1, withscores=True)])
    return (
        {} if isinstance(beats, Exception) else {worker.decode(errors="replace"): float(seen) for worker, seen in beats}
    )


async def _read_abilities(server: Server, docket: Docket, workers: Sequence[str]) -> dict[str, frozenset[str]]:
    answers = await server.ask([partial(_smembers, docket.worker_tasks_set(worker)) for worker in workers])
    return {
        worker: frozenset()
        if isinstance(answer, Exception)
        else frozenset(name.decode(errors="replace") for name in answer)
        for worker, answer in zip(workers, answers, strict=True)
    }


async def _read_runs(server: Server, docket: Docket, task_keys: Sequence[str]) -> list[Run]:
    fields = ("state", "when", "worker", "error", "function", "completed_at")
    records = await server.ask([partial(_hmget, docket.runs_key(key), fields) for key in task_keys])
    runs: list[Run] = []
    for task_key, record in zip(task_keys, records, strict=True):
        if isinstance(record, Exception) or record[0] is None or _is_dockets_own(task_key):
            continue
        state, due, worker, error, function, ended = ((value or b"").decode(errors="replace") for value in record)
        # Docket's error names the dependency that failed: the key of taskctx.worker_dependencies
        context_failed = state == "failed" and "task_context" in error and "resolve dependencies" in error
        task = task_of(task_key)
        runs.append(Run(task_key, task, state, moment(due), worker, function, moment(ended), context_failed))
    return await _with_ttls(server, docket, runs)


async def _with_ttls(server: Server, docket: Docket, runs: Sequence[Run]) -> list[Run]:
    """Each run with the TTL of its snapshot.  A worker shortens the TTL just after Docket has recorded the end."""
    found = await _read_ttls(server, docket, runs)
    if any(_is_long_lived(run) for run in found):
        await asyncio.sleep(SETTLING)
        again = {run.task_key: run for run in await _read_ttls(server, docket, list(filter(_is_long_lived, found)))}
        found = [again.get(run.task_key, run) for run in found]
    return found


async def _read_ttls(server: Server, docket: Docket, runs: Sequence[Run]) -> list[Run]:
    keys = {run.task_key: docket.key(run.task.stored_under) for run in runs if run.task is not None}
    replies = await server.ask([partial(ttl_of, key) for key in keys.values()])
    ttls = dict(zip(keys, replies, strict=True))
    return [replace(run, snapshot_ttl=ttls.get(run.task_key, GONE)) for run in runs]


def _is_long_lived(run: Run) -> bool:
    return run.state == "completed" and run.snapshot_ttl > current_settings().completed_ttl


def _is_dockets_own(task_key: str) -> bool:
    """Whether a key belongs to a FastMCP task (with FastMCP's own snapshot), or to a task that Docket adds itself."""
    return is_fastmcps(task_key) or task_key.startswith("__")


def _hmget(key: str, fields: Sequence[str], pipeline: Any) -> object:
    return pipeline.hmget(key, fields)


def _smembers(key: str, pipeline: Any) -> object:
    return pipeline.smembers(key)
