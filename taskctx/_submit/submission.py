"""One task and its snapshot, submitted together.

A snapshot is stored before its task is scheduled, because a worker may claim a task the moment it is scheduled.  So a
task that is not scheduled must leave no snapshot behind, and a duplicate must not overwrite the first submission's
snapshot: it reads before it writes, and waits while another submitter is between its save and its scheduling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import Enum

from docket import Docket
from docket.execution import Disposition, Execution

from .._caller.registries import register_task_server, register_task_session, servers
from .._caller.trace_context import Span, current_span, current_trace
from .._snapshot.capture import Origin, Values
from .._snapshot.keys import PLAIN_TASK, TaskKeyParts, build_task_key
from .._snapshot.lifetime import seconds_until, whole_seconds
from .._snapshot.wire import PLAIN, Wire
from .._transport import commands
from .._transport.commands import Stored, TaskRecord, TaskState
from .._transport.connection import check_open, connection_of
from .._transport.deadline import BackendError, Deadline
from ..errors import Reason, SaveError, SnapshotError
from ..operations import Field, Save
from ..telemetry.observe import observe

IN_FLIGHT = 2
"""For so many seconds a snapshot without a task is taken for that of a submitter that is about to schedule."""

POLL_INTERVAL = 0.02


class Standing(Enum):
    """What is stored under the snapshot's key."""

    OURS = "this submission's snapshot"
    OVER_EARLIER = "this submission's snapshot, over one of an earlier run"
    DEFERRED = "another one: the task is scheduled or running already"


class Submission:
    """One task that is being submitted: place, save, and after Docket's answer conclude or abandon.

    Attributes:
        unique: taskctx made the task's id, so no other submission can have the same id.
        record_key: the key of Docket's record of the task; empty where taskctx does not schedule the task.
        reduced: the value was too large, so its optional parts are not stored.
        fields: the names of the parts that the snapshot holds.
        value: the stored bytes of the snapshot (see ``batch.Value``); None where the task runs without context.
        previous: the value under the key before this submission; it is stored again if Docket does not schedule.
        generation: the generation of the task that this one replaces; the replacement has a later one.
        saved_in: the span of the save, which began a trace where the submitter has no trace.
        server: the live server that is registered for the task.
    """

    __slots__ = (
        "connection",
        "docket",
        "fields",
        "generation",
        "name",
        "origin",
        "parts",
        "previous",
        "record_key",
        "redis_key",
        "reduced",
        "saved_in",
        "server",
        "standing",
        "task_key",
        "ttl",
        "unique",
        "value",
        "when",
        "wire",
    )

    redis_key: str
    task_key: str
    parts: TaskKeyParts
    ttl: int

    def __init__(
        self,
        docket: Docket,
        name: str,
        when: datetime | None,
        origin: Origin,
        *,
        unique: bool = False,
        wire: Wire = PLAIN,
    ) -> None:
        check_open(docket)
        self.docket, self.name, self.when = docket, name, when
        self.origin, self.unique, self.wire = origin, unique, wire
        self.connection = connection_of(docket)
        self.record_key = ""
        self.value: memoryview | None = None
        self.standing = Standing.OURS
        self.previous: Stored | None = None
        self.generation, self.reduced = -1, False
        self.fields: tuple[Field, ...] = ()
        self.saved_in: Span | None = None
        self.server: object = None

    @property
    def written(self) -> bool:
        return self.value is not None and self.standing is not Standing.DEFERRED

    def place(self, task_id: str, outlives: int | None) -> None:
        """Set the snapshot's key and TTL: it lives ``outlives`` seconds (default ``pending_ttl``) after ``when``."""
        settings = self.origin.runtime.settings
        if outlives is None:
            outlives = settings.pending_ttl
        scope = self.origin.scope
        self.parts = TaskKeyParts(scope, task_id, PLAIN_TASK, self.name)
        self.task_key = build_task_key(scope, task_id, PLAIN_TASK, self.name)
        self.redis_key = self.wire.key(self.docket, self.task_key, self.parts, self.origin.runtime)
        self.record_key = self.docket.runs_key(self.task_key)
        self.ttl = outlives if self.when is None else whole_seconds(seconds_until(self.when) + outlives)

    def place_at(self, redis_key: str, parts: TaskKeyParts, ttl: int) -> None:
        """Do :meth:`place` for a task that taskctx does not schedule."""
        self.redis_key, self.parts, self.ttl = redis_key, parts, ttl

    @contextmanager
    def best_effort(self) -> Generator[None]:
        """Ignore backend errors of the block, and limit it to ``backend_timeout``: a remaining snapshot has a TTL."""
        with suppress(BackendError), Deadline(self.connection.timers, self.origin.runtime.settings.backend_timeout):
            yield

    async def save(self, reserve: Callable[[], Awaitable[None]]) -> None:
        """Store the captured context with ``reserve``, which is one of the methods below.

        Raises:
            CaptureError, SaveError: the context was not stored.
        """
        runtime = self.origin.runtime
        saving = Save(docket_name=self.docket.name, docket_task=self.name, task_id=self.parts.task_id)
        try:
            with observe(saving, runtime) as operation:
                try:
                    with Deadline(self.connection.timers, runtime.settings.backend_timeout):
                        self.encode(await self.connection.server_time())
                        await reserve()
                finally:
                    self.describe(operation)
                    operation.sizes = () if self.value is None else (len(self.value),)
                    if self.standing is Standing.DEFERRED:
                        operation.skipped()
        except (SnapshotError, BackendError) as error:
            failure = SaveError(error.reason, error.cause)
        except asyncio.CancelledError:
            # the server may have stored the snapshot anyway
            await self.abandon()
            raise
        else:
            return
        if self.standing is Standing.OVER_EARLIER:
            await self.abandon()
        # raised outside of the except block, so that it has neither that error as its context nor that error's frames
        raise failure

    def encode(self, stored_at: float) -> None:
        """Make the bytes to store, with the current trace context; inside of a save that is the save's own span.

        Raises:
            CaptureError: the context has no JSON form.
            SnapshotError: (``too_large``) there are more bytes than ``max_snapshot_bytes``.
        """
        origin = self.origin
        self.fields = origin.parts
        values = Values(origin.values | {"stored_at": stored_at, "ttl": self.ttl})
        if origin.values and (here := current_trace()):
            self.saved_in = current_span()
            values.by_name["trace_context"] = values.by_name["trace_context"] | here
            if Field.TRACE not in self.fields:
                self.fields = (*self.fields, Field.TRACE)
        self.value = memoryview(self.wire.encode(values, self.redis_key, origin.runtime))
        if len(self.value) > origin.runtime.settings.max_snapshot_bytes:
            less = self.wire.encode_reduced(self.redis_key, origin.runtime)
            if less is None:
                raise SnapshotError(Reason.TOO_LARGE)
            self.value, self.reduced = memoryview(less), True

    def describe(self, operation: Save) -> None:
        """Fill in the operation's fields for telemetry."""
        operation.ttl = self.ttl
        operation.fields = self.fields
        operation.sealed_with = self.wire.sealing_key_id(self.origin.runtime)
        if self.reduced:
            operation.failed(Reason.TOO_LARGE)

    async def reserve(self) -> None:
        """Store the snapshot of a task that will be added, unless the task is scheduled already."""
        if self.unique:
            if self.value is not None:
                await commands.put(self.connection, self.redis_key, self.value, self.ttl)
        elif self.value is None or not await commands.put_new(self.connection, self.redis_key, self.value, self.ttl):
            await self.reserve_contested()

    async def reserve_contested(self) -> None:
        """Reserve a key that holds a snapshot: of a live task, of an ended task, or of a task about to be scheduled."""
        # a batch does this in other asyncio tasks: their retries do not see its deadline, which would take their cause
        with Deadline(self.connection.timers, self.origin.runtime.settings.backend_timeout):
            while True:
                stored, record = await commands.look(self.connection, self.redis_key, self.record_key)
                if record.live:
                    self.standing, self.previous = Standing.DEFERRED, None
                    return
                if stored is not None and await self._is_in_flight(stored):
                    await asyncio.sleep(POLL_INTERVAL)
                elif await self._store_over(stored, record):
                    return

    async def reserve_over(self) -> None:
        """Store the snapshot of a replacing task."""
        while not await self._store_over(*await commands.look(self.connection, self.redis_key, self.record_key)):
            pass  # another submitter was faster

    async def reserve_nothing(self, reserve: Callable[[], Awaitable[None]]) -> None:
        """Let the task run without context: remove the snapshot of an earlier run."""
        self.value, self.standing, self.previous, self.generation = None, Standing.OURS, None, -1
        try:
            with self.best_effort():
                await reserve()
        except asyncio.CancelledError:
            await self.abandon()
            raise

    async def conclude(self, execution: Execution) -> None:
        """Act on Docket's answer.  Never raises: the answer is valid, and a remaining snapshot has a TTL."""
        with self.best_effort():
            if execution.disposition is Disposition.FAILED:
                await self.take_back_unless_scheduled()
            else:
                if execution.disposition is Disposition.ALREADY_SCHEDULED and await self._was_asked_twice(execution):
                    execution.disposition = Disposition.SCHEDULED
                scheduled = execution.disposition is Disposition.SCHEDULED
                await (self._confirm() if scheduled else self._take_back())
        if execution.disposition is not Disposition.SCHEDULED:
            self.forget_live()

    async def abandon(self) -> None:
        """Clean up after Docket failed: remove the snapshot, unless the task is scheduled (its answer was lost)."""
        with self.best_effort():
            await self.take_back_unless_scheduled()

    async def take_back_unless_scheduled(self) -> None:
        """Do :meth:`abandon` without its time limit; errors are raised."""
        if self.record_key and (self.written or self.previous is not None):
            record = await commands.record_of(self.connection, self.record_key)
            if record.state not in commands.LIVE or record.generation <= self.generation:
                self.forget_live()
                await self._take_back()

    def register_live(self) -> None:
        """Let workers in this process find the caller's session and server, if this submission saved its snapshot."""
        caller = self.origin.caller
        if not self.written:
            return
        if caller.session is not None and caller.session_id:
            register_task_session(caller.session_id, caller.session)
        if caller.server is not None:
            register_task_server(self.parts.task_id, caller.server)
            self.server = caller.server

    def forget_live(self) -> None:
        """Unregister the server of a task that is not scheduled.  The session stays: other tasks may use it."""
        if self.server is not None:
            servers.remove(self.parts.task_id, self.server)

    async def _was_asked_twice(self, execution: Execution) -> bool:
        """Whether Docket knows the task because the answer to the first command was lost and it was sent again."""
        if self.unique or self.standing is Standing.DEFERRED:
            return self.unique
        return self.is_own(await commands.record_of(self.connection, self.record_key), execution.when)

    def is_own(self, record: TaskRecord, when: datetime) -> bool:
        """Whether Docket's record of the key belongs to this submission.

        Its due time then equals this submission's to the microsecond, and its generation is later than that of the
        earlier submission that was found under the key.
        """
        if self.standing is Standing.DEFERRED or record.state is TaskState.UNKNOWN:
            return False
        return self.unique or (record.generation > self.generation and record.due == when.timestamp())

    async def _confirm(self) -> None:
        if self.value is None:
            return
        if self.standing is Standing.DEFERRED:
            # the run that this submission deferred to has ended in between
            await commands.put(self.connection, self.redis_key, self.value, self.ttl)
        elif self.standing is Standing.OVER_EARLIER:
            # the earlier run may have ended in between, and shortened the TTL of this snapshot as if it was its own
            await commands.expire(self.connection, self.redis_key, self.ttl)

    async def _take_back(self) -> None:
        if self.written or self.previous is not None:
            value, ttl = self.previous or (None, 1)
            await self._swap(self.value, value, max(1, self.ttl if ttl is None else ttl))

    async def _store_over(self, previous: Stored | None, record: TaskRecord) -> bool:
        """Store the snapshot in place of an earlier one; False when another submitter was faster."""
        # remembered first, to be stored again if the task is not scheduled: the server may do it and not answer
        self.standing, self.previous, self.generation = Standing.OVER_EARLIER, previous, record.generation
        return await self._swap(None if previous is None else previous.value, self.value, self.ttl)

    async def _swap(self, expected: memoryview | None, value: memoryview | None, ttl: int) -> bool:
        return await commands.compare_and_set(self.connection, self.redis_key, expected, value, ttl)

    async def _is_in_flight(self, stored: Stored) -> bool:
        """Whether a snapshot was stored just now, by the server's clock.  False for a snapshot that cannot be read."""
        try:
            snapshot = self.wire.decode(bytes(stored.value), self.redis_key, self.origin.runtime)
        except SnapshotError:
            return False
        if stored.ttl is not None:
            return snapshot.ttl is not None and 0 <= snapshot.ttl - stored.ttl < IN_FLIGHT
        return snapshot.stored_at is not None and (
            0 <= await self.connection.server_time() - snapshot.stored_at < IN_FLIGHT
        )
