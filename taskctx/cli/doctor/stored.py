"""The stored snapshots, read once: their TTLs, their sizes and their seals."""

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
"""The JSON member that taskctx.fastmcp adds to a FastMCP snapshot; that module needs FastMCP, so it is copied here."""

SAMPLE = 500
"""How many snapshots of each docket are opened; of the others only the first bytes are read, with the key id."""

GONE = -2
"""The TTL of a key that does not exist; -1 is the TTL of a key that never expires."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, and the result of opening it.

    Attributes:
        ttl: the TTL in seconds; -1 when the snapshot never expires.
        seal: the seal that the snapshot claims to have.
        refused: why this process cannot read the snapshot.
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
    """A FastMCP snapshot.

    Attributes:
        has_member: whether it has taskctx's member, which an instrumented server writes; None where that cannot be
            seen.
    """

    seal: Seal
    has_member: bool | None = None


async def read_snapshots(server: Server, found: Sequence[Found]) -> list[Snapshot]:
    """TTL, size and seal of each snapshot; the first :data:`SAMPLE` snapshots are opened."""
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
    """FastMCP's snapshots under these keys that still exist; the first :data:`SAMPLE` are parsed."""
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
