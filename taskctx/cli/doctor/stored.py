"""The snapshots that are stored, read once: how long they last, how large they are, by what they are sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic_core import from_json

from taskctx._runtime import runtime
from taskctx._snapshot.snapshot import StoredSnapshot, parse_stored
from taskctx.errors import Reason, SnapshotError

from ..operating.layout import Found, TaskRef
from ..operating.seal import BEGINNING, PLAIN, UNKNOWN, Seal, Sealer, seal_of
from ..operating.server import Ask, Server

MEMBER = "taskctx"
"""Of a snapshot of FastMCP's, as taskctx.fastmcp writes it: that cannot be asked where FastMCP is not installed."""

SAMPLE = 500
"""Snapshots of each docket that are opened; of the rest only the first bytes are read, which name the key."""

GONE = -2
"""The TTL of a key that is not there; -1 is that of one that never expires."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, and what came of opening it.

    Attributes:
        ttl: seconds left; -1 when it never expires.
        seal: what it says it is sealed by.
        refused: why this process cannot read it.
    """

    key: str
    task: TaskRef
    ttl: int
    size: int
    seal: Seal = PLAIN
    record: StoredSnapshot | None = field(default=None, repr=False)
    refused: Reason | None = None


@dataclass(frozen=True, slots=True)
class FastMCPSnapshot:
    """A snapshot of FastMCP's own.

    Attributes:
        has_member: taskctx has a part in it, as where the server that wrote it was instrumented; None where that
            cannot be seen.
    """

    seal: Seal
    has_member: bool | None = None


async def read_snapshots(server: Server, found: Sequence[Found]) -> list[Snapshot]:
    """TTL, size and seal of each; the first :data:`SAMPLE` are opened."""
    asks: list[Ask] = []
    for index, each in enumerate(found):
        last = -1 if index < SAMPLE else BEGINNING - 1
        asks += [partial(ttl_of, each.key), partial(_strlen, each.key), partial(_getrange, each.key, last)]
    replies = await server.ask(asks)
    snapshots: list[Snapshot] = []
    for index, each in enumerate(found):
        ttl, size, value = replies[3 * index : 3 * index + 3]
        if each.task is None or ttl == GONE:
            continue
        if isinstance(value, Exception):
            snapshots.append(Snapshot(each.key, each.task, ttl, 0, UNKNOWN, refused=Reason.MALFORMED))
        elif index < SAMPLE:
            snapshots.append(_opened(each.key, each.task, ttl, value))
        else:
            snapshots.append(Snapshot(each.key, each.task, ttl, size, seal_of(value)))
    return snapshots


async def read_fastmcp(server: Server, keys: Sequence[str]) -> list[FastMCPSnapshot]:
    """FastMCP's own snapshots under these keys, as far as they are still there; the first are looked into."""
    lasts = (-1 if index < SAMPLE else BEGINNING - 1 for index in range(len(keys)))
    values = await server.ask([partial(_getrange, key, last) for key, last in zip(keys, lasts, strict=True)])
    return [_of_fastmcp(value, whole=index < SAMPLE) for index, value in enumerate(values) if value != b""]


def _of_fastmcp(value: Any, *, whole: bool) -> FastMCPSnapshot:
    if isinstance(value, Exception):
        return FastMCPSnapshot(UNKNOWN)
    seal = seal_of(value)
    if seal.by is Sealer.TASKCTX:
        return FastMCPSnapshot(seal, has_member=True)
    try:
        return FastMCPSnapshot(seal, MEMBER in from_json(value) if whole and seal == PLAIN else None)
    except (ValueError, TypeError):
        return FastMCPSnapshot(UNKNOWN)


def ttl_of(key: str, pipeline: Any) -> object:
    return pipeline.ttl(key)


def _opened(key: str, task: TaskRef, ttl: int, value: bytes) -> Snapshot:
    seal = seal_of(value)
    try:
        record = parse_stored(runtime().codec.decode(value, key))
    except SnapshotError as error:
        return Snapshot(key, task, ttl, len(value), seal, refused=error.reason)
    return Snapshot(key, task, ttl, len(value), seal, record)


def _strlen(key: str, pipeline: Any) -> object:
    return pipeline.strlen(key)


def _getrange(key: str, last: int, pipeline: Any) -> object:
    return pipeline.getrange(key, 0, last)
