"""In the worker: put the submitting caller's context in force before the task's body, or say why not.

The failure contract.  Whatever comes after, nothing is inherited: the ambient caller, the carried variables and
the baggage are cleared first.  A failure has a named reason; under ``on_restore_failure="fail"`` it raises
:class:`RestoreError` and the body does not run, else the body runs anonymous.  A snapshot takes effect as a
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

    Give it to a worker as ``Depends(restore_task_snapshot)``, or await it with a key where a docket is current.
    :data:`taskctx.worker_dependencies` does this and more: it renews and shortens the snapshot's life, and cleans up.

    A key that is not ours is left alone, without touching Redis; nothing is inherited then either.

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
        resets: of everything that it set.
        is_in_force: the snapshot was restored.
        snapshot: what was stored; None until it was read and opened.
        redis_key: where.
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
        """Clear what was inherited, then put the snapshot of the task in force.

        Args:
            renew: the task may run again, so its snapshot gets ``pending_ttl`` once more.

        Raises:
            RestoreError: the context could not be restored, and by the failure contract that fails the task.
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
        # outside the operation, whose observers put back the OpenTelemetry context that they found
        self._apply(task)

    def resume(self, earlier: Restoration, *, is_in_force: bool) -> None:
        """Go on from an earlier try, which was held back before the task's body.

        Its answer from the ``refresh_token`` hook counts for the same token.

        Args:
            earlier: what it restored.
            is_in_force: its snapshot is the task's still, and needs no reading where it has life enough.
        """
        self._asked = earlier._expired
        if is_in_force and 2 * earlier.ttl_left() > self.runtime.settings.pending_ttl:
            self._wire, self.redis_key = earlier._wire, earlier.redis_key
            self.snapshot, self._ttl, self._read_at = earlier.snapshot, earlier._ttl, earlier._read_at

    def renewed(self, ttl: int) -> None:
        """The snapshot was given so many seconds from now."""
        self._ttl, self._read_at = ttl, time.monotonic()

    def ttl_left(self) -> int:
        """Seconds that are left to the snapshot by now; negative for none, or no end."""
        return math.ceil(self._ttl - (time.monotonic() - self._read_at))

    def _clear(self) -> None:
        """No caller, no carried values, no baggage, no snapshot."""
        self.resets.set(current_caller, ANONYMOUS)
        self.resets.set(restored_task, None)
        if carried_variables:
            set_carried({}, self.resets)
        clear_baggage(self.resets)

    async def _restored(self, docket: Docket, *, renew: bool) -> Reason | None:
        """Read, open and judge; None when all is ready to take effect, or else the reason why it is not."""
        try:
            self.connection = connection_of(docket)
            snapshot = self.snapshot or await self._read(docket, renew=renew)
            # a refreshed token takes its time, which is not Redis's
            credential = await self._judge(snapshot)
            self._degraded = (self._expired and self._expired.degraded) or self._wire.degraded
            if carried_variables or snapshot.required:
                self._carry(snapshot)
            self._caller = self._wire.caller(self._parts, snapshot, credential)
        except (SnapshotError, BackendError) as error:
            self._cause = error.cause
            return error.reason
        except Exception:  # noqa: BLE001
            # a bug (ours, or of a carried variable's set) must not run a task as another caller
            return Reason.INTERNAL
        return None

    def _carry(self, snapshot: StoredSnapshot) -> None:
        """Give the carried variables the values that are valid.

        Raises:
            SnapshotError: (``carried_required``) a required one has none.
        """
        carried = load_carried(snapshot.carried, snapshot.required)
        if carried.lost:
            raise SnapshotError(Reason.CARRIED_REQUIRED)
        if carried.invalid and self._degraded is None:
            self._degraded = Reason.CARRIED_INVALID
        set_carried(carried.values, self.resets)

    async def _read(self, docket: Docket, *, renew: bool) -> StoredSnapshot:
        """Fetch and open the snapshot; nothing takes effect yet."""
        within, settings, connection = self.runtime, self.runtime.settings, self.connection
        self.redis_key = key = self._wire.key(docket, self._key, self._parts, within)
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
                try:
                    # by the server's clock alone, whoever wrote it
                    self._age = max(0.0, await connection.server_time() - written)
                except BackendError:
                    self._age = None
        return snapshot

    async def _judge(self, snapshot: StoredSnapshot) -> Credential | None:
        """The credential that the task gets: of its key's scope, alive, and refreshed or left out where it is not.

        Raises:
            SnapshotError: (``malformed``, ``scope_mismatch``, or for an expired token what fails the task).
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
        """Put what was restored in force.  Nothing in here can fail."""
        self.is_in_force = True
        current_caller.set(self._caller)
        restored_task.set(task._replace(snapshot=self.snapshot))
        if self.snapshot is not None and BAGGAGE in self.snapshot.trace_context:
            use_baggage(self.snapshot.trace_context, self.resets)

    def _describe(self, operation: Restore, reason: Reason | None) -> None:
        """Tell telemetry what was found, and why it failed if it did."""
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
    """Where the snapshot of a task of ours is stored; None for another task."""
    parts = PLAIN.parse(task_key)
    return None if parts is None else PLAIN.key(docket, task_key, parts, runtime())
