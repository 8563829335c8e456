"""In the worker: put the submitting caller's context in force before the task's body, or say why not.

The failure contract.  Whatever comes after, nothing is inherited: the ambient caller, the carried variables and
the baggage are cleared first.  A failure has a named reason; under ``on_restore_failure="fail"`` it raises
:class:`RestoreError` and the body does not run, else the body runs anonymous.  A snapshot takes effect as a
whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from docket import Docket
from docket.dependencies import TaskKey, current_docket, current_execution

from .._caller.caller import NOBODY, Caller, constant_token, current_caller
from .._caller.carried import Loaded, load_carried, set_carried
from .._caller.resets import Undo
from .._caller.token import token_from_json
from .._caller.trace_context import clear_baggage, use_baggage
from .._snapshot.codec import codec_for, known_key_id
from .._snapshot.keys import TaskKeyParts, parse_task_key, snapshot_key_of
from .._snapshot.record import Record, parse_record
from .._snapshot.snapshot import TaskContextSnapshot, present_fields, snapshot_of
from .._transport import commands
from .._transport.deadline import BackendError, bounded
from ..errors import InvalidType, Reason, RestoreError, SnapshotError, TaskContextError
from ..operations import Outcome, Restore
from ..settings import Settings, current_settings
from ..telemetry.observe import docket_seen, observe
from .credential import usable_token
from .current_task import TaskContextInfo, restored_snapshot


async def restore_task_snapshot(key: str = TaskKey()) -> None:
    """Restore the context of the task with this key, for the rest of the current task.

    Give it to a worker as ``Depends(restore_task_snapshot)``, or await it with a key where a docket is current.
    :data:`taskctx.worker_dependencies` does this and more: it renews and shortens the snapshot's life, and cleans up.

    A key that is not ours is left alone, without touching Redis; nothing is inherited then either.

    Raises:
        RestoreError: the context could not be restored, and ``on_restore_failure`` is ``fail``.
        InvalidType: the key is not a string.
    """
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidType(f"a task key must be a string, not {type(key).__name__}")
    await restore(key, Undo())


class Fetched(NamedTuple):
    """A snapshot as it was stored, and the seconds that its key had left when it was fetched."""

    snapshot: TaskContextSnapshot
    redis_key: str
    ttl: int
    fetched_at: float


class Restored(NamedTuple):
    """A snapshot ready to be put in force."""

    fetched: Fetched
    caller: Caller
    carried: Loaded

    @property
    def snapshot(self) -> TaskContextSnapshot:
        return self.fetched.snapshot


async def restore(key: str, undo: Undo, *, renew: bool = False) -> Restored | None:
    """Clear what was inherited, then put the snapshot of the task with this key in force."""
    become_nobody(undo)
    parts = parse_task_key(key)
    docket = current_docket.get(None)
    if docket is None:
        if parts is None:
            return None
        raise TaskContextError(
            "no docket is current: restore_task_snapshot runs in a Docket worker, "
            "or where docket.dependencies.current_docket is set"
        )
    settings = current_settings()
    docket_seen(docket.name)
    operation = restore_operation(docket)
    if parts is None:
        with observe(operation):
            operation.skipped()
        return None

    async def find() -> Restored:
        async with bounded():
            fetched = await _fetch(docket, redis_key(docket, key), operation, settings, renew)
        # a refreshed token takes its time, which is not Redis's
        snapshot = fetched.snapshot
        stored = token_from_json(snapshot.access_token_json)
        token = await usable_token(stored, parts.task_scope, operation, settings)
        caller = Caller(
            token_source=constant_token(token),
            headers=snapshot.http_headers or {},
            request_id=snapshot.origin_request_id,
            session_id=snapshot.session_id,
        )
        return Restored(fetched, caller, usable_carried(snapshot, operation))

    return await attempt(operation, parts, find, settings.fails_task, undo)


async def attempt(
    operation: Restore,
    parts: TaskKeyParts,
    find: Callable[[], Awaitable[Restored]],
    fails_task: Callable[[Reason], bool],
    undo: Undo,
) -> Restored | None:
    """Put what ``find`` gives in force, or do as the failure contract says.

    Raises:
        RestoreError: there is nothing to put in force, and ``fails_task`` said of the reason that this fails the task.
    """
    operation.task_id = parts.task_id
    with observe(operation):
        restored = await _found(operation, find, fails_task, undo)
    if isinstance(restored, Reason):
        set_carried({}, undo)
        if operation.fails_task:
            raise RestoreError(restored)
        return None
    # outside the operation, whose observers put back the OpenTelemetry context that they found
    _apply(restored, parts, undo)
    return restored


async def _found(
    operation: Restore, find: Callable[[], Awaitable[Restored]], fails_task: Callable[[Reason], bool], undo: Undo
) -> Restored | Reason:
    """What is to be put in force, whose carried values are already; or why there is nothing."""
    try:
        found = await find()
        set_carried(found.carried.values, undo)
    except (SnapshotError, BackendError) as error:
        reason = error.reason
    except Exception:  # noqa: BLE001
        # a bug (ours, or of a carried variable's set) must not run a task as somebody else
        reason = Reason.INTERNAL
    else:
        return found
    operation.failed(reason)
    operation.fails_task = fails_task(reason)
    return reason


def become_nobody(undo: Undo) -> None:
    """Become nobody: no caller, no carried values, no baggage, no snapshot."""
    undo.set(current_caller, NOBODY)
    undo.set(restored_snapshot, None)
    set_carried({}, undo)
    clear_baggage(undo)


def restore_operation(docket: Docket) -> Restore:
    """Of the task that runs here."""
    execution = current_execution.get(None)
    return Restore(
        docket_name=docket.name,
        docket_task="" if execution is None else execution.function_name,
        attempt=1 if execution is None else execution.attempt,
    )


def redis_key(docket: Docket, task_key: str) -> str:
    """Where the snapshot of a task of ours is stored."""
    return docket.key(snapshot_key_of(current_settings().key_prefix, task_key))


async def _fetch(docket: Docket, key: str, operation: Restore, settings: Settings, renew: bool) -> Fetched:
    """Read the task's snapshot; nothing takes effect yet."""
    renew_to = settings.pending_ttl if renew else None
    stored = await commands.fetch(docket, key, renew_to=renew_to)
    if stored is None:
        raise SnapshotError(Reason.MISSING)
    operation.size, operation.ttl_remaining = len(stored.value), stored.ttl
    operation.key_id = known_key_id(stored.value, settings)
    record = parse_record(codec_for(settings).decode(stored.value, key))
    snapshot = snapshot_of(record)
    await _measure(operation, docket, record, settings)
    operation.schema_version = snapshot.schema_version
    operation.fields = present_fields(snapshot)
    operation.origin = snapshot.trace_context
    return Fetched(snapshot, key, max(stored.ttl, renew_to or 0), time.monotonic())


async def _measure(operation: Restore, docket: Docket, record: Record, settings: Settings) -> None:
    """Age, and the TTL that what remains is a part of, by the server's clock alone."""
    written = record.stored_at or record.captured_at
    if written is not None:
        with suppress(BackendError):
            operation.age = max(0.0, await commands.server_time(docket) - written)
    remaining = operation.ttl_remaining or 0
    lifetime = record.ttl or settings.pending_ttl
    renewed = operation.age is not None and operation.age + remaining > lifetime + 1
    operation.ttl = max(remaining, settings.pending_ttl) if renewed else lifetime


def usable_carried(snapshot: TaskContextSnapshot, operation: Restore) -> Loaded:
    """The carried values that are valid."""
    carried = load_carried(snapshot.carried)
    if carried.invalid and operation.outcome is Outcome.OK:
        operation.degraded(Reason.CARRIED_INVALID)
    return carried


def _apply(restored: Restored, parts: TaskKeyParts, undo: Undo) -> None:
    """Put what was restored in force.  Nothing in here can fail."""
    undo.set(current_caller, restored.caller)
    task = TaskContextInfo(parts.task_id, parts.task_scope)
    undo.set(restored_snapshot, (task, restored.snapshot))
    use_baggage(restored.snapshot.trace_context, undo)
