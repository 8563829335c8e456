"""Snapshots of tasks that ended without running their body: workers find them and give them ``completed_ttl``.

A task that is cancelled, struck or cleared never reaches the worker's dependency, which would have shortened its
snapshot.  So a worker regularly compares the stored snapshots with Docket's tasks.

A snapshot is stored before its task is scheduled, so a snapshot without a task may belong to a future task.  A sweep
shortens a snapshot only if the sweep before found it without a task too, and it was not written or renewed since.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, asynccontextmanager
from contextvars import Context
from itertools import islice
from uuid import uuid4

from docket import Docket
from pydantic import TypeAdapter, ValidationError

from .._caller.trace_context import suppress_instrumentation
from .._runtime import current_settings
from .._transport import commands
from .._transport.connection import connection_of
from .._transport.keyspace import STEP, ScanRefused, claims_of, expire_if_due, scan, ttls_of
from ..operations import Sweep
from ..telemetry.observe import observe
from .restoration import snapshot_key

MOST_WAITING, MOST_NOTED = 100_000, 10_000
"""The most snapshots in memory at a time, and the most snapshots without a task that a sweep notes."""

TOLERANCE = 3
"""Seconds by which two readings of one expiry may differ: TTLs are whole seconds, and answers take time."""

_Ends = dict[str, float]
"""The time by ``time.monotonic()`` at which each snapshot expires, by its Redis key."""

_Notes = TypeAdapter(tuple[int, dict[str, int]])
"""In seconds: the TTL that the notes were given, and those that the snapshots without a task had at that time."""


@asynccontextmanager
async def sweeping(docket: Docket) -> AsyncGenerator[None]:
    """Sweep a docket every ``sweep_interval`` seconds while the block lasts; one of its workers sweeps at a time."""
    # in a clean context: the caller that started the worker is not the sweep's caller
    task = Context().run(asyncio.create_task, _sweep_repeatedly(docket))
    task.set_name(f"{docket.name} - taskctx sweep")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _sweep_repeatedly(docket: Docket) -> None:
    suppress_instrumentation()
    while interval := current_settings().sweep_interval:
        try:
            if await _is_our_turn(docket, interval):
                await sweep(docket)
        except ScanRefused:
            return
        except Exception:  # noqa: BLE001, S110 - observers know it; a worker must not stop for it
            pass
        await asyncio.sleep(interval)


async def _is_our_turn(docket: Docket, interval: int) -> bool:
    """Whether no worker began to sweep the docket in the last ``interval`` seconds."""
    connection, ours = connection_of(docket), uuid4().bytes
    # two sweeps must be further apart than a task's save and its scheduling can be
    ttl = max(interval, math.ceil(2 * current_settings().backend_timeout))
    with connection.deadline():
        return await commands.put_new(connection, _key(docket, "turn"), ours, ttl)


async def sweep(docket: Docket) -> None:
    """Shorten the snapshots without a task that the sweep before noted, and note the other ones without a task.

    Raises:
        ScanRefused: the server does not allow this worker to search for keys.
        BackendError: the server did not answer, or not in time.
    """
    with observe(Sweep(docket_name=docket.name)) as operation:
        try:
            found = await _without_task(docket)
        except ScanRefused:
            operation.gives_up = True
            raise
        if found:
            noted = await _noted(docket)
            over = [key for key, end in found.items() if abs(noted.get(key, math.inf) - end) <= TOLERANCE]
            operation.shortened = await _shorten(docket, {key: found.pop(key) for key in over})
            await _note(docket, found)


async def _without_task(docket: Docket) -> _Ends:
    """Snapshots without a task that have more than ``completed_ttl`` left."""
    prefix = docket.key(f"{current_settings().key_prefix}:task:")
    found: _Ends = {}
    waiting: _Ends = {}
    async with aclosing(scan(connection_of(docket), prefix, ":snapshot")) as steps:
        async for keys in steps:
            waiting |= await _long_lived(docket, keys)
            if len(waiting) >= MOST_WAITING:
                found |= await _without_live_task(docket, waiting)
                waiting = {}
    return found | (await _without_live_task(docket, waiting) if waiting else {})


async def _long_lived(docket: Docket, snapshots: Collection[str]) -> _Ends:
    """Those of these snapshots that have more than ``completed_ttl`` left."""
    settings, connection = current_settings(), connection_of(docket)
    with connection.deadline():
        ttls = await ttls_of(connection, list(snapshots))
    now = time.monotonic()
    return {key: now + ttl for key, ttl in zip(snapshots, ttls, strict=True) if ttl > settings.completed_ttl}


async def _without_live_task(docket: Docket, waiting: _Ends) -> _Ends:
    """Those of these snapshots for which Docket has no waiting or running task.

    Docket's records are read after the snapshots, so the task of each of these snapshots is among them.
    """
    left, connection, prefix = dict(waiting), connection_of(docket), docket.runs_key("")
    async with aclosing(scan(connection, prefix)) as steps:
        async for keys in steps:
            named = ((key, snapshot_key(docket, key.removeprefix(prefix))) for key in keys)
            records = {key: snapshot for key, snapshot in named if snapshot is not None and snapshot in left}
            with connection.deadline():
                claims = await claims_of(connection, list(records))
            for snapshot, claim in zip(records.values(), claims, strict=True):
                if claim.state in commands.LIVE:
                    left.pop(snapshot, None)
            if not left:
                break
    return left


async def _noted(docket: Docket) -> _Ends:
    """The snapshots that the sweep before noted; empty where the notes cannot be read."""
    connection = connection_of(docket)
    with connection.deadline():
        stored = await commands.fetch(connection, _key(docket, "notes"))
    if stored is None or stored.ttl is None:
        return {}
    try:
        given, notes = _Notes.validate_json(bytes(stored.value))
    except ValidationError:
        return {}
    # the age of the notes is by the server's TTL: the clocks of two workers may differ
    written = time.monotonic() - (given - stored.ttl)
    return {key: written + ttl for key, ttl in notes.items()}


async def _note(docket: Docket, found: _Ends) -> None:
    """Store snapshots without a task for the next sweep, which another worker may do."""
    connection, now = connection_of(docket), time.monotonic()
    notes = {key: round(end - now) for key, end in list(found.items())[:MOST_NOTED]}
    # a day, or longer than sweeps are apart
    ttl = max(86_400, 2 * current_settings().sweep_interval)
    with connection.deadline():
        await commands.put(connection, _key(docket, "notes"), _Notes.dump_json((ttl, notes)), ttl)


async def _shorten(docket: Docket, ends: _Ends) -> int:
    """Give ``completed_ttl`` to the snapshots that were not written or renewed in between; returns their number."""
    settings, connection, shortened, keys = current_settings(), connection_of(docket), 0, iter(ends)
    while step := list(islice(keys, STEP)):
        now = time.monotonic()
        due = {key: range(int(ends[key] - now) - TOLERANCE, int(ends[key] - now) + TOLERANCE + 1) for key in step}
        with connection.deadline():
            shortened += await expire_if_due(connection, settings.completed_ttl, due)
    return shortened


def _key(docket: Docket, name: str) -> str:
    return docket.key(f"{current_settings().key_prefix}:sweep:{name}")
