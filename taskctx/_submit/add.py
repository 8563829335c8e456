"""Submits tasks with their caller's context: Docket's ``add``, ``replace`` and ``add_many``, plus a snapshot."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from docket import Docket
from docket.execution import Execution, TaskCall

from .._snapshot.capture import Origin
from .._snapshot.keys import PLAIN_TASK, build_task_key
from .._snapshot.lifetime import whole_seconds
from .._transport import commands
from .._transport.connection import check_docket, connection_of
from .._transport.deadline import BackendError, Deadline
from ..errors import CaptureError, InvalidArgument, InvalidType, SaveError, SnapshotError
from ..operations import Save
from ..telemetry.observe import observe
from .handover import abandon_all, hand_over, hand_over_all
from .scheduling import scheduler_of
from .submission import Standing, Submission

P = ParamSpec("P")
R = TypeVar("R")
TTL = float | timedelta | None
TaskFunction = Callable[..., Awaitable[Any]]


@overload
def add(
    docket: Docket,
    function: Callable[P, Awaitable[R]],
    when: datetime | None = None,
    key: str | None = None,
    ttl: TTL = None,
) -> Callable[P, Awaitable[Execution]]: ...
@overload
def add(
    docket: Docket, function: str, when: datetime | None = None, key: str | None = None, ttl: TTL = None
) -> Callable[..., Awaitable[Execution]]: ...
def add(
    docket: Docket,
    function: TaskFunction | str,
    when: datetime | None = None,
    key: str | None = None,
    ttl: TTL = None,
) -> Callable[..., Awaitable[Execution]]:
    """Add a task to a docket with the current caller's context.  Call it in two steps, like ``docket.add``::

        execution = await taskctx.add(docket, make_report)(42)

    A live ``session`` and ``server`` bound with :func:`taskctx.bind_caller` are registered for workers in this
    process.  Tasks that are added at the same time share round trips; each gets its own answer.

    Args:
        docket: an open docket.
        function: the task, or its registered name.
        when: when the task is due, with a time zone; now by default.
        key: the task's id; by default a new one.  The Docket key (``execution.key``) contains this id and the caller's
            scope, so each scope has its own ids.  A duplicate keeps the first submission's context, and Docket
            answers ``ALREADY_SCHEDULED``.  Tasks of two functions need two ids: one id has one context.
        ttl: seconds (or a timedelta) by which the context outlives ``when``; the ``pending_ttl`` setting by default.

    Raises:
        CaptureError, SaveError: the context could not be captured or saved, and nothing was scheduled (unless
            ``on_save_failure`` is ``continue``); or there is no caller and ``on_anonymous`` is ``refuse``.
        ScheduleError: the context was saved, but Docket could not schedule the task, also when asked again within
            ``backend_timeout`` after its first error.  While the server does not answer at all, ``add`` waits, as
            ``docket.add`` does.
        InvalidArgument, InvalidType: an argument cannot be used.
        KeyError: ``function`` is a name that is not registered on the docket.
    """
    name, outlives = _checked(docket, function, when, key, ttl)
    task_id = str(uuid.uuid4()) if key is None else key
    due = when or datetime.now(UTC)

    async def submit(*args: Any, **kwargs: Any) -> Execution:
        submission = Submission(docket, name, when, Origin(), unique=key is None)
        await _save(submission, task_id, outlives, submission.reserve)
        call = TaskCall(docket.tasks[name], args, kwargs, submission.task_key, due, name)
        return await hand_over(submission, call, partial(scheduler_of(docket).add, call))

    return submit


@overload
def replace(
    docket: Docket, function: Callable[P, Awaitable[R]], when: datetime, key: str, ttl: TTL = None
) -> Callable[P, Awaitable[Execution]]: ...
@overload
def replace(
    docket: Docket, function: str, when: datetime, key: str, ttl: TTL = None
) -> Callable[..., Awaitable[Execution]]: ...
def replace(
    docket: Docket, function: TaskFunction | str, when: datetime, key: str, ttl: TTL = None
) -> Callable[..., Awaitable[Execution]]:
    """Replace the task under ``key`` in the caller's scope, and its context.  Like ``docket.replace``.

    When a worker claims the replaced task in the instant between the save and the replacement, that run sees the
    new caller's context; both callers have the same scope.  If Docket fails, the first context is stored again.

    Arguments and errors are those of :func:`add`; ``when`` and ``key`` must be given.
    """
    check_when(when)
    name, outlives = _checked(docket, function, when, key, ttl)

    async def submit(*args: Any, **kwargs: Any) -> Execution:
        submission = Submission(docket, name, when, Origin())
        await _save(submission, key, outlives, submission.reserve_over)
        call = TaskCall(docket.tasks[name], args, kwargs, submission.task_key, when, name)
        replaced = partial(docket.replace(function, when, submission.task_key), *args, **kwargs)
        return await hand_over(submission, call, partial(scheduler_of(docket).alone, replaced))

    return submit


async def add_many(
    docket: Docket, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000, ttl: TTL = None
) -> list[Execution]:
    """Add a batch of tasks with the current caller's context, in pipelined round trips.  Like ``docket.add_many``.

    The context is captured once, and all tasks of the batch share the trace context of one save.  Nothing is
    scheduled when a snapshot of the batch cannot be saved.

    Args:
        docket: an open docket.
        calls: made with ``docket.call(function, when, key)(...)``; each key becomes a task id, as in :func:`add`.
        chunk_size: how many tasks one round trip sends; None sends all at once.
        ttl: see :func:`add`.

    Returns:
        One execution for each call, in order; its ``disposition`` is Docket's answer.

    Raises:
        CaptureError, SaveError, ScheduleError, InvalidArgument, InvalidType: see :func:`add`.
    """
    check_docket(docket)
    if chunk_size is not None and chunk_size < 1:
        raise InvalidArgument("chunk_size must be at least 1, or None to send all at once")
    outlives = None if ttl is None else whole_seconds(ttl)
    batch, origin = list(calls), Origin()
    submissions = [
        Submission(docket, call.function_name or call.function.__name__, check_when(call.when), origin)
        for call in batch
    ]
    if submissions:
        await _save_all(docket, submissions, [call.key for call in batch], outlives, chunk_size or len(batch))
    if not submissions:
        return await docket.add_many([])
    calls = [changed(call, key=submission.task_key) for call, submission in zip(batch, submissions, strict=True)]
    return await hand_over_all(submissions, calls, partial(docket.add_many, chunk_size=chunk_size))


def check_when(when: object) -> datetime:
    """The value, which must be a datetime with a time zone: Docket accepts no other.

    Raises:
        InvalidType: the value is no such datetime.
    """
    if not isinstance(when, datetime):
        raise InvalidType(f"when must be a datetime, not {type(when).__name__}")
    if when.utcoffset() is None:
        raise InvalidType("when must be a datetime with a time zone, such as datetime.now(UTC) + timedelta(hours=1)")
    return when


def _checked(
    docket: Docket, function: TaskFunction | str, when: datetime | None, key: str | None, ttl: TTL
) -> tuple[str, int | None]:
    """Register the task on the docket; returns its name, and the seconds by which its snapshot outlives ``when``."""
    if not isinstance(docket, Docket):  # pyright: ignore[reportUnnecessaryIsInstance]
        check_docket(docket)
    if when is not None:
        check_when(when)
    name = function if isinstance(function, str) else getattr(function, "__name__", None)
    if not isinstance(name, str) or not callable(docket.tasks[name] if isinstance(function, str) else function):
        raise InvalidType(
            "function must be an async function, or the name of one that is registered on the docket, "
            f"not {type(function).__name__}"
        )
    if not isinstance(function, str) and docket.tasks.get(name) is not function:
        # a registered function is not registered again: Docket's add checks it once more anyway
        docket.register(function)
    if key is not None:
        build_task_key(None, key, PLAIN_TASK, name)  # an id that cannot be used is refused now, not at submission
    return name, None if ttl is None else whole_seconds(ttl)


async def _save(
    submission: Submission, task_id: str, outlives: int | None, reserve: Callable[[], Awaitable[None]]
) -> None:
    """Capture the caller's context and store it; a failure follows the ``on_save_failure`` setting."""
    origin, is_captured = submission.origin, True
    try:
        origin.capture(submission.docket.name, submission.name)
    except CaptureError as error:
        if origin.runtime.settings.refuses_task(error.reason):
            raise
        is_captured = False
    submission.place(task_id, outlives)
    if is_captured:
        try:
            return await submission.save(reserve)
        except (CaptureError, SaveError) as error:
            if origin.runtime.settings.refuses_task(error.reason):
                raise
    return await submission.reserve_nothing(reserve)


async def _save_all(
    docket: Docket, submissions: Sequence[Submission], task_ids: Sequence[str], outlives: int | None, chunk_size: int
) -> None:
    """Do :func:`_save` for all tasks of a batch or for none."""
    origin = submissions[0].origin
    is_captured = _is_captured(origin, submissions)
    for submission, task_id in zip(submissions, task_ids, strict=True):
        submission.place(task_id, outlives)
    if is_captured:
        try:
            await _store_all(docket, submissions, chunk_size)
        except asyncio.CancelledError:
            await abandon_all(submissions)
            raise
        except (CaptureError, SaveError) as error:
            await abandon_all(submissions)
            if origin.runtime.settings.refuses_task(error.reason):
                raise
        else:
            return
    await asyncio.gather(*(each.reserve_nothing(each.reserve) for each in submissions))


async def _store_all(docket: Docket, submissions: Sequence[Submission], chunk_size: int) -> None:
    runtime, connection = submissions[0].origin.runtime, connection_of(docket)
    first = _first_under_each_key(submissions)
    try:
        with observe(Save(docket_name=docket.name, count=len(submissions)), runtime) as operation:
            try:
                with Deadline(connection.timers, runtime.settings.backend_timeout):
                    stored_at = await connection.server_time()
                    for submission in submissions:
                        submission.encode(stored_at)
                for start in range(0, len(first), chunk_size):
                    with Deadline(connection.timers, runtime.settings.backend_timeout):
                        await _reserve_all(first[start : start + chunk_size])
            finally:
                submissions[0].describe(operation)
                operation.sizes = [len(each.value) for each in submissions if each.value is not None]
    except (SnapshotError, BackendError) as error:
        failure = SaveError(error.reason, error.cause)
    else:
        return
    # raised here for the reason given in Submission.save
    raise failure


def _is_captured(origin: Origin, submissions: Sequence[Submission]) -> bool:
    """Capture the caller's context; returns False where that failed and ``on_save_failure`` is ``continue``."""
    names = {each.name for each in submissions}
    try:
        origin.capture(submissions[0].docket.name, names.pop() if len(names) == 1 else "", len(submissions))
    except CaptureError as error:
        if origin.runtime.settings.refuses_task(error.reason):
            raise
        return False
    return True


def _first_under_each_key(submissions: Sequence[Submission]) -> list[Submission]:
    """The tasks of a batch that Docket will schedule.  The others defer to the first task under their key."""
    first: dict[str, Submission] = {}
    for submission in submissions:
        if first.setdefault(submission.redis_key, submission) is not submission:
            submission.standing = Standing.DEFERRED
    return list(first.values())


async def _reserve_all(submissions: Sequence[Submission]) -> None:
    """Do :meth:`Submission.reserve` for a batch in one round trip; a task whose key is in use needs more."""
    entries = [(each.redis_key, each.value or b"", each.ttl) for each in submissions]
    free = await commands.put_all_new(submissions[0].connection, entries)
    contested = [each.reserve_contested() for each, is_free in zip(submissions, free, strict=True) if not is_free]
    # wait for all before the first error is raised: after it, _save_all removes the stored snapshots
    for error in filter(None, await asyncio.gather(*contested, return_exceptions=True)):
        raise error
