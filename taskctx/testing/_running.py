"""Runs a task in a real worker: with a real capture, save, claim and restore."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar
from uuid import uuid4

from docket import Docket, Worker
from docket.dependencies import current_docket, current_execution
from docket.execution import Execution

from .. import (
    InvalidType,
    Reason,
    SnapshotError,
    TaskContextError,
    TaskContextSnapshot,
    add,
    build_task_key,
    worker_dependencies,
)
from .._caller.resets import Resets
from .._caller.token import token_from_json, token_scope
from .._runtime import current_settings
from .._snapshot.keys import PLAIN_TASK
from .._worker.restoration import Restoration
from ._caller import FakeCaller
from ._failures import check_failure, damage
from ._record import Recorder, TaskRun
from ._seen import SeenContext

P = ParamSpec("P")
R = TypeVar("R")
Origin = FakeCaller | TaskContextSnapshot | None

_OFTEN: Final = timedelta(milliseconds=5)
_SOON: Final = timedelta(seconds=10)


def run_as_worker(
    function: Callable[P, Awaitable[R]],
    *,
    caller: Origin = None,
    failure: Reason | None = None,
    docket: Docket | None = None,
    runs: int | None = None,
) -> Callable[P, Awaitable[TaskRun[R]]]:
    """Submit a task and let a worker run it.  Call it in two steps, like :func:`taskctx.add`::

        run = await run_as_worker(make_report, caller=fake_caller("ada"))(42)
        assert run.result == "report 42 for ada"

    Only ``failure`` is simulated: Docket and a real worker with :data:`taskctx.worker_dependencies` capture, save and
    restore the context.  The worker also runs other tasks that are due on the docket.

    Args:
        function: the task; its Docket dependencies (``Retry``, ``Timeout``, ``Depends``) are in force.
        caller: the submitter: a fake caller, or the snapshot to store for the task.  By default the current caller,
            which :func:`taskctx.bind_caller` or :meth:`FakeCaller.bound` binds.
        failure: damages the stored snapshot so that the restore fails for this reason: ``missing``, ``malformed``,
            ``schema_unsupported``, ``scope_mismatch``, ``credential_expired``, ``decrypt_unknown_key``, and with
            encryption keys ``decrypt_failed``.  Set the effect of a failure with :func:`configured`.
        docket: an open docket; by default a new one on ``memory://``.
        runs: the most runs of the task; needed for tasks that never end (``Perpetual``, ``Cron``).

    Returns:
        The attempts and the result.  An exception of the task is in ``error``, and is not raised.

    Raises:
        CaptureError, SaveError: the context could not be captured or saved, see :func:`taskctx.add`.
        InvalidArgument: the failure cannot be simulated, or not with this caller or these settings.
        InvalidType: an argument has the wrong type.
    """
    check_failure(failure)

    async def run(*args: P.args, **kwargs: P.kwargs) -> TaskRun[R]:
        async with _opened(docket) as on:
            execution = await _submitted(on, function, caller, args, kwargs)
            if failure is not None:
                await damage(on, execution.key, failure)
            with Recorder(execution).watching() as recorder:
                await _run(on, recorder, None if runs is None else {execution.key: runs})
            if not recorder.attempts:
                raise TaskContextError("the worker did not run the task; Docket's log (logger docket) says why")
            ended_well = recorder.attempts[-1].error is None
            return TaskRun(
                attempts=tuple(recorder.attempts),
                result=await execution.get_result(timeout=_SOON) if ended_well else None,
            )

    return run


@asynccontextmanager
async def restored(caller: Origin = None, *, failure: Reason | None = None) -> AsyncGenerator[SeenContext]:
    """Be in a task of this caller for the length of an ``async with`` block, to test code that a task's body calls.

    ::

        async with restored(fake_caller("ada")):
            assert tenant() == "fake-tenant-of-ada"

    The context is captured, saved and restored as for a task, but without a worker: the block is the task's body.
    Enter and leave it in the same function; a fixture's two halves may run in different contexts.

    Args:
        caller: see :func:`run_as_worker`.
        failure: see :func:`run_as_worker`.

    Returns:
        The context that the block sees.

    Raises:
        RestoreError: the context could not be restored, and ``on_restore_failure`` is ``fail``.
        CaptureError, SaveError, InvalidArgument, InvalidType: see :func:`run_as_worker`.
    """
    check_failure(failure)
    async with _opened(None) as docket:
        execution = await _submitted(docket, _body, caller, (), {})
        if failure is not None:
            await damage(docket, execution.key, failure)
        with Resets() as resets:
            resets.set(current_docket, docket)
            resets.set(current_execution, execution)
            await Restoration(execution.key, resets=resets).run()
            yield SeenContext.here()


async def _body() -> None:
    """The task that :func:`restored` submits in place of its block."""


@asynccontextmanager
async def _opened(docket: Docket | None) -> AsyncGenerator[Docket]:
    async with AsyncExitStack() as stack:
        if docket is None:
            name = f"taskctx-testing-{uuid4()}"
            docket = await stack.enter_async_context(Docket(name=name, url=f"memory://{name}"))
        yield docket


async def _submitted(
    docket: Docket, function: Callable[..., Awaitable[Any]], caller: Origin, args: Any, kwargs: Any
) -> Execution:
    match caller:
        case None:
            return await add(docket, function)(*args, **kwargs)
        case FakeCaller():
            with caller.bound():
                return await add(docket, function)(*args, **kwargs)
        case TaskContextSnapshot():
            scope, task_id = _scope_in(caller), str(uuid4())
            await caller.save(docket, scope, task_id, current_settings().pending_ttl)
            key = build_task_key(scope, task_id, PLAIN_TASK, function.__name__)
            return await docket.add(function, key=key)(*args, **kwargs)
        case _:  # pyright: ignore[reportUnnecessaryComparison]
            raise InvalidType(
                f"caller must be a fake_caller(...) or a TaskContextSnapshot, not {type(caller).__name__}"
            )


def _scope_in(snapshot: TaskContextSnapshot) -> str | None:
    """The scope in a snapshot; None where its token cannot be read."""
    with suppress(SnapshotError):
        return token_scope(token_from_json(snapshot.access_token_json))
    return None


async def _run(docket: Docket, recorder: Recorder, at_most: dict[str, int] | None) -> None:
    dependencies = {**worker_dependencies, "taskctx_testing": recorder.dependency}
    async with Worker(
        docket, dependencies=dependencies, minimum_check_interval=_OFTEN, scheduling_resolution=_OFTEN
    ) as worker:
        if at_most is None:
            await worker.run_until_finished()
        else:
            await worker.run_at_most(at_most)
