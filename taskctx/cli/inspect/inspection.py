"""All data about one task, read once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from taskctx._caller.token import AccessToken, token_from_json
from taskctx._runtime import runtime
from taskctx._snapshot.snapshot import StoredSnapshot, parse_stored
from taskctx.errors import Reason, SnapshotError

from ..operating.layout import moment
from ..operating.seal import UNKNOWN, Seal, seal_of
from ..operating.server import Server
from .search import Located

_RECORD = ("state", "when", "worker", "function")


@dataclass(frozen=True, slots=True)
class Run:
    """Docket's record of the task.

    Attributes:
        due: when the task is due, in seconds since the epoch.
        worker: the worker that runs the task, or ran it last; empty before the first run.
    """

    task_key: str
    state: str
    due: float
    worker: str
    function: str

    @property
    def is_pending(self) -> bool:
        return self.state in {"scheduled", "queued"}


@dataclass(frozen=True, slots=True)
class Opened:
    """The content of a stored snapshot."""

    snapshot: StoredSnapshot
    token: AccessToken | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored snapshot.

    Attributes:
        ttl: the TTL in seconds; -1 when the snapshot never expires.
        seal: the seal that the snapshot claims to have.
        opened: the content; None when this process cannot read it.
        refused: why this process cannot read it.
    """

    size: int
    ttl: int
    seal: Seal
    opened: Opened | None
    refused: Reason | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """One task; ``now`` is the time by the server's clock."""

    located: Located
    runs: tuple[Run, ...]
    stored: Stored | None
    now: float


async def inspect_task(server: Server, located: Located) -> Inspection:
    """Read a task's snapshot, and Docket's records of the task."""
    docket = server.docket(located.docket)
    records = await server.ask([partial(_hmget, docket.runs_key(key)) for key in located.task_keys])
    # the answer is an exception where the key holds another type than a hash
    known = [each for each in zip(located.task_keys, records, strict=True) if isinstance(each[1], list) and each[1][0]]
    runs = tuple(_run(key, record) for key, record in known)
    now = time.time() + await server.clock_offset()
    stored: Stored | None = None
    if located.redis_key:
        value, ttl = await server.ask([partial(_get, located.redis_key), partial(_ttl, located.redis_key)])
        stored = None if value is None else _stored(located, value, ttl)
    return Inspection(located, runs, stored, now)


def _stored(located: Located, value: Any, ttl: int) -> Stored:
    if isinstance(value, Exception):
        # the key holds another type than a string
        return Stored(0, ttl, UNKNOWN, None, Reason.MALFORMED)
    seal = seal_of(value)
    if located.fastmcp:
        return Stored(len(value), ttl, seal, None, None)
    try:
        snapshot = parse_stored(runtime().codec.decode(value, located.redis_key))
        opened = Opened(snapshot, token_from_json(snapshot.access_token_json))
    except SnapshotError as error:
        return Stored(len(value), ttl, seal, None, error.reason)
    return Stored(len(value), ttl, seal, opened, None)


def _run(task_key: str, record: list[bytes | None]) -> Run:
    state, due, worker, function = ((value or b"").decode(errors="replace") for value in record)
    return Run(task_key, state, moment(due), worker, function)


def _hmget(key: str, pipeline: Any) -> object:
    return pipeline.hmget(key, _RECORD)


def _get(key: str, pipeline: Any) -> object:
    return pipeline.get(key)


def _ttl(key: str, pipeline: Any) -> object:
    return pipeline.ttl(key)
