"""In the worker: put the submitting caller's context in force before the task's body, or report why not.

The failure contract: a task never inherits a context, because the ambient caller, the carried variables and the
baggage are cleared first.  A failure has a named reason.  With ``on_restore_failure="fail"`` a failure raises
:class:`RestoreError` and the body does not run; otherwise the body runs anonymously.  A snapshot takes effect as a
whole or not at all.
"""

from __future__ import annotations

import math
import time

from docket import Docket
from docket.dependencies import TaskKey, current_docket, current_execution

from .._caller.caller import ANONYMOUS, current_caller
from .._caller.carried import carried_variables, load_carried, set_carried
from .._caller.resets import Resets
from .._caller.token import Credential, is_expired, life_left
from .._caller.trace_context import BAGGAGE, clear_baggage, use_baggage
from .._runtime import runtime
from .._snapshot.capture import present_parts
from .._snapshot.keys import TaskKeyParts
from .._snapshot.snapshot import StoredSnapshot
from .._snapshot.wire import PLAIN, Wire
from .._transport import commands
from .._transport.connection import Connection, connection_of
from .._transport.deadline import BackendError, Deadline
from ..errors import InvalidType, Reason, RestoreError, SnapshotError, TaskContextError
from ..operations import Restore
from ..telemetry.observe import docket_seen, observe
from .credential import ExpiredCredential
from .current_task import RestoredTask, TaskContextInfo, restored_task
from .shared import make_shared_anonymously


async def restore_task_snapshot(key: str = TaskKey()) -> None:
    """Restore the context of the task with this key, for the rest of the current task.

    Give this function to a worker as ``Depends(restore_task_snapshot)``, or await it with a key where a docket is
    current.  :data:`taskctx.worker_dependencies` does more: it also sets the snapshot's TTL, and cleans up.

    For a key that taskctx did not build, Redis is not asked, and the task inherits no context either.

    Raises:
        RestoreError: the context could not be restored, and ``on_restore_failure`` is ``fail``.
        TaskContextError: no docket is current.
        InvalidType: the key is not a string.
    """
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidType(f"a task key must be a string, not {type(key).__name__}")
    await Restoration(key).run()
    make_shared_anonymously()


class Restoration:
    """One restoration of a task's caller: clear, read, open, judge, apply.

    Attributes:
        resets: undoes everything that the restoration set.
        is_in_force: whether the snapshot was restored.
        snapshot: the stored snapshot; None until it is read and opened.
        redis_key: the snapshot's Redis key.
    """

    __slots__ = (
        "_age",
        "_asked",
        "_caller",
        "_cause",
        "_credential_life",
        "_degraded",
        "_expired",
        "_is_sealed",
        "_key",
        "_key_id",
        "_parts",
        "_read_at",
        "_remaining",
        "_size",
        "_ttl",
        "_wire",
        "connection",
        "is_in_force",
        "redis_key",
        "resets",
        "runtime",
        "snapshot",
    )

    connection: Connection
    _parts: TaskKeyParts

    def __init__(self, key: str, wire: Wire = PLAIN, resets: Resets | None = None) -> None:
        self.resets = Resets() if resets is None else resets
        self.is_in_force = False
        self.snapshot: StoredSnapshot | None = None
        self.redis_key = ""
        self._key = key
        self._wire = wire
        self.runtime = runtime()
        self._caller = ANONYMOUS
        self._degraded: Reason | None = None
        self._cause: str | None = None
        self._size: int | None = None
        self._is_sealed = False
        self._key_id: str | None = None
        self._remaining: int | None = None
        self._ttl = self._read_at = 0.0
        self._age: float | None = None
        self._credential_life: float | None = None
        self._expired: ExpiredCredential | None = None
        self._asked: ExpiredCredential | None = None

    async def run(self, *, renew: bool = False) -> None:
        """Clear the inherited context, then put the task's snapshot in force.

        Args:
            renew: the task may run again, so its snapshot gets ``pending_ttl`` again.

        Raises:
            RestoreError: the context could not be restored, and ``on_restore_failure`` fails the task.
            TaskContextError: no docket is current.
        """
        self._clear()
        parts, docket = self._wire.parse(self._key), current_docket.get(None)
        if docket is None:
            if parts is None:
                return
            raise TaskContextError(
                "no docket is current: restore_task_snapshot runs in a Docket worker, "
                "or where docket.dependencies.current_docket is set"
            )
        if docket.name not in self.runtime.observers.dockets_seen:
            docket_seen(docket.name, within=self.runtime)
        execution = current_execution.get(None)
        operation = Restore(
            docket_name=docket.name,
            docket_task="" if execution is None else execution.function_name,
            attempt=1 if execution is None else execution.attempt,
        )
        if parts is None:
            with observe(operation, self.runtime):
                operation.skipped()
            return
        self._parts = parts
        task = RestoredTask(self._key, TaskContextInfo(parts.task_id, parts.task_scope), None)
        self.resets.set(restored_task, task)
        with observe(operation, self.runtime):
            reason = await self._restored(docket, renew=renew)
            self._describe(operation, reason)
        if reason is not None:
            set_carried({}, self.resets)
            if operation.fails_task:
                raise RestoreError(reason, self._cause)
            return
        # after the operation, because its observers reset the OpenTelemetry context at the end
        self._apply(task)

    def resume(self, earlier: Restoration, *, is_in_force: bool) -> None:
        """Continue from an earlier try, which Docket held back before the task's body.

        The earlier answer of the ``refresh_token`` hook is used for the same token.

        Args:
            earlier: the restoration of the earlier try.
            is_in_force: the earlier snapshot is still the task's; it is not read again where enough of its TTL is left.
        """
        self._asked = earlier._expired
        if is_in_force and 2 * earlier.ttl_left() > self.runtime.settings.pending_ttl:
            self._wire, self.redis_key = earlier._wire, earlier.redis_key
            self.snapshot, self._ttl, self._read_at = earlier.snapshot, earlier._ttl, earlier._read_at

    def renewed(self, ttl: int) -> None:
        """Note that the snapshot's TTL was set to so many seconds, now."""
        self._ttl, self._read_at = ttl, time.monotonic()

    def ttl_left(self) -> int:
        """Seconds until the snapshot expires; negative where it is gone, or never expires."""
        return math.ceil(self._ttl - (time.monotonic() - self._read_at))

    def _clear(self) -> None:
        """Clear the caller, the carried values, the baggage and the snapshot."""
        self.resets.set(current_caller, ANONYMOUS)
        self.resets.set(restored_task, None)
        if carried_variables:
            set_carried({}, self.resets)
        clear_baggage(self.resets)

    async def _restored(self, docket: Docket, *, renew: bool) -> Reason | None:
        """Read, open and judge the snapshot; returns None when it is ready to apply, else the reason of the failure."""
        try:
            self.connection = connection_of(docket)
            snapshot = self.snapshot or await self._read(docket, renew=renew)
            # outside of the Redis deadline: the refresh hook has a timeout of its own
            credential = await self._judge(snapshot)
            self._degraded = (self._expired and self._expired.degraded) or self._wire.degraded
            if carried_variables or snapshot.required:
                self._carry(snapshot)
            self._caller = self._wire.caller(self._parts, snapshot, credential)
        except (SnapshotError, BackendError) as error:
            self._cause = error.cause
            return error.reason
        except Exception:  # noqa: BLE001
            # a bug (in taskctx, or in a carried variable's set) must not run a task as another caller
            return Reason.INTERNAL
        return None

    def _carry(self, snapshot: StoredSnapshot) -> None:
        """Set the carried variables that have a valid value.

        Raises:
            SnapshotError: (``carried_required``) a required variable has no valid value.
        """
        carried = load_carried(snapshot.carried, snapshot.required)
        if carried.lost:
            raise SnapshotError(Reason.CARRIED_REQUIRED)
        if carried.invalid and self._degraded is None:
            self._degraded = Reason.CARRIED_INVALID
        set_carried(carried.values, self.resets)

    async def _read(self, docket: Docket, *, renew: bool) -> StoredSnapshot:
        """Fetch and decode the snapshot; it does not take effect yet."""
        within, settings, connection = self.runtime, self.runtime.settings, self.connection
        self.redis_key = key = self._wire.key(docket, self._key, self._parts, within)
        snapshot: StoredSnapshot | None = None
        try:
            with Deadline(connection.timers, settings.backend_timeout):
                renew_to = settings.pending_ttl if renew else None
                stored = await commands.fetch(connection, key, renew_to=renew_to)
                if stored is None:
                    raise SnapshotError(Reason.MISSING)
                self._read_at = time.monotonic()
                self._ttl = max(stored.ttl or 0, renew_to or 0)
                self._size, self._remaining = len(stored.value), stored.ttl
                if (envelope := self._wire.envelope(bytes(stored.value))) is not None:
                    self._is_sealed, self._key_id = True, within.codec.known_key_id(envelope)
                self.snapshot = snapshot = self._wire.decode(bytes(stored.value), key, within)
                written = snapshot.stored_at or snapshot.captured_at
                if written is not None:
                    # both times are by the server's clock, for a snapshot of any submitter
                    self._age = max(0.0, await connection.server_time() - written)
        except BackendError:
            # the age is only for telemetry
            if snapshot is None:
                raise
        return snapshot

    async def _judge(self, snapshot: StoredSnapshot) -> Credential | None:
        """The credential that the task gets: of the scope in the task's key; an expired one is replaced or left out.

        Raises:
            SnapshotError: ``malformed``, ``scope_mismatch``, or the reason why an expired token fails the task.
        """
        if snapshot.access_token_json is None:
            return None
        credential = Credential.stored(snapshot.access_token_json)
        if credential.scope != self._parts.task_scope:
            raise SnapshotError(Reason.SCOPE_MISMATCH)
        expires_at = credential.token.expires_at
        if expires_at is None:
            return credential
        now = time.time()
        self._credential_life = expires_at - now
        if not is_expired(credential.token, now):
            return credential
        asked = self._asked
        if asked is None or not asked.is_of(credential):
            asked = ExpiredCredential(credential, self.runtime)
        self._expired = asked
        new = await asked.replaced(may_keep=self._wire.keeps_expired_tokens)
        if new is not None and new is not credential:
            self._credential_life = life_left(new.token, time.time())
        return new

    def _apply(self, task: RestoredTask) -> None:
        """Put the restored context in force.  No step of this can fail."""
        self.is_in_force = True
        current_caller.set(self._caller)
        restored_task.set(task._replace(snapshot=self.snapshot))
        if self.snapshot is not None and BAGGAGE in self.snapshot.trace_context:
            use_baggage(self.snapshot.trace_context, self.resets)

    def _describe(self, operation: Restore, reason: Reason | None) -> None:
        """Fill in the operation's fields for telemetry, with the reason of a failure."""
        operation.task_id = self._parts.task_id
        operation.size, operation.ttl_remaining = self._size, self._remaining
        operation.is_sealed, operation.key_id = self._is_sealed, self._key_id
        operation.credential_ttl = self._credential_life
        if self._expired is not None:
            operation.refresh_failure = self._expired.refresh_failure
        if (snapshot := self.snapshot) is not None:
            operation.origin = snapshot.trace_context
            operation.fields = present_parts(
                access_token_json=snapshot.access_token_json,
                http_headers=snapshot.http_headers,
                session_id=snapshot.session_id,
                origin_request_id=snapshot.origin_request_id,
                trace_context=snapshot.trace_context,
                carried=snapshot.carried,
            )
            if (lifetimes := self._wire.lifetimes(snapshot, self.runtime)) is not None:
                given, renewal = lifetimes
                remaining = self._remaining or 0
                renewed = self._age is not None and self._age + remaining > given + 1
                operation.age = self._age
                operation.ttl = max(remaining, renewal) if renewed else given
                operation.schema_version = snapshot.schema_version
        if reason is not None:
            operation.failed(reason)
            operation.cause = self._cause
            operation.fails_task = self._wire.fails_task(reason, self.runtime)
        elif self._degraded is not None:
            operation.degraded(self._degraded)


def snapshot_key(docket: Docket, task_key: str) -> str | None:
    """The Redis key of a taskctx task's snapshot; None for any other task."""
    parts = PLAIN.parse(task_key)
    return None if parts is None else PLAIN.key(docket, task_key, parts, runtime())
