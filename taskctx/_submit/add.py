"""Submitting tasks with their caller's context: Docket's ``add``, ``replace`` and ``add_many``, and a snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace as changed
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

from docket import Docket
from docket.execution import Execution, TaskCall

from .._caller.caller import get_task_scope
from .._snapshot.snapshot import capture_snapshot, saving, stored_form
from .._transport.backend import check_docket, gate
from .._transport.deadline import BackendError, bounded
from ..errors import CaptureError, SaveError
from ..operations import Save
from ..settings import current_settings
from ..telemetry.observe import docket_seen
from .arguments import check_chunk_size, check_when, checked_calls
from .plan import TTL, Plan, TaskFunction
from .reservation import Reservation, Slot, abandon_all, reserve, reserve_many, reserve_over

P = ParamSpec("P")
R = TypeVar("R")
_Reserve = Callable[[Slot, bytes | None], Awaitable[Reservation]]


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
    """Add a task to a docket with the current caller's context.  As ``docket.add``, called in the same two steps::

        execution = await taskctx.add(docket, make_report)(42)

    A live ``session`` and ``server`` bound with :func:`taskctx.bind_caller` are registered for workers in this
    process.

    Args:
        docket: an open docket.
        function: the task, or its registered name.
        when: when it is due, with a time zone; now by default.
        key: the task's id, a fresh one by default.  It becomes part of the Docket key (``execution.key``) beside the
            caller's scope, so duplicates are judged per scope.  A duplicate leaves the first submission's context in
            force, and Docket answers ``ALREADY_SCHEDULED``.
        ttl: seconds (or a timedelta) by which the context outlives ``when``; the ``pending_ttl`` setting by default.

    Raises:
        CaptureError, SaveError: the context could not be captured or saved, and nothing was scheduled (unless
            ``on_save_failure`` is ``continue``).
        InvalidArgument, InvalidType: an argument cannot be used.
        KeyError: ``function`` is a name that is not registered on the docket.
    """
    plan = Plan.of(docket, function, when, key, ttl)

    async def submit(*args: Any, **kwargs: Any) -> Execution:
        slot = plan.slot(get_task_scope())
        reservation = await _reserve_for(plan, slot, reserve)
        return await _schedule(plan, reservation, lambda: docket.add(function, when, slot.task_key)(*args, **kwargs))

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
    """Replace a task that is scheduled under ``key`` in the caller's scope, and its context.  As ``docket.replace``.

    A run of the replaced task that a worker claims in the instant between the save and the replacement sees the
    replacing caller's context; both are of the same scope.  If Docket fails, the first context is put back.

    Arguments and errors are those of :func:`add`; ``when`` and ``key`` must be given.
    """
    check_when(when)
    plan = Plan.of(docket, function, when, key, ttl)

    async def submit(*args: Any, **kwargs: Any) -> Execution:
        slot = plan.slot(get_task_scope())
        reservation = await _reserve_for(plan, slot, reserve_over)
        return await _schedule(
            plan, reservation, lambda: docket.replace(function, when, slot.task_key)(*args, **kwargs)
        )

    return submit


async def add_many(
    docket: Docket, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000, ttl: TTL = None
) -> list[Execution]:
    """Add a batch of tasks with the current caller's context, in pipelined round trips.  As ``docket.add_many``.

    The context is captured once, and all tasks of the batch share the trace context of one save.  Nothing is
    scheduled when a snapshot of the batch cannot be saved.

    Args:
        docket: an open docket.
        calls: made with ``docket.call(function, when, key)(...)``; each key becomes a task id, as with :func:`add`.
        chunk_size: how many tasks travel in one round trip; None sends all at once.
        ttl: as with :func:`add`.

    Returns:
        One execution for each call, in order; its ``disposition`` is Docket's answer.

    Raises:
        CaptureError, SaveError, InvalidArgument, InvalidType: as with :func:`add`.
    """
    check_docket(docket)
    check_chunk_size(chunk_size)
    plans = [Plan.of_call(docket, call, ttl) for call in checked_calls(calls)]
    scope = get_task_scope()
    slots = [plan.slot(scope) for plan in plans]
    calls = [changed(plan.call, key=slot.task_key) for plan, slot in zip(plans, slots, strict=True) if plan.call]
    reservations = await _reserve_batch(docket, slots, chunk_size)
    try:
        for plan, reservation in zip(plans, reservations, strict=True):
            plan.register_live(reservation)
        executions = await docket.add_many(calls, chunk_size=chunk_size)
    except BaseException:
        for plan, reservation in zip(plans, reservations, strict=True):
            plan.forget_live(reservation)
        await abandon_all(reservations)
        raise
    for plan, reservation, execution in zip(plans, reservations, executions, strict=True):
        await _conclude(plan, reservation, execution)
    return executions


async def _reserve_for(plan: Plan, slot: Slot, reserve_in: _Reserve) -> Reservation:
    """Capture the caller's context and store it, as the ``on_save_failure`` setting has it."""
    docket = plan.docket
    docket_seen(docket.name)
    value: bytes | None = None
    try:
        snapshot = capture_snapshot(docket.name)
        with saving(Save(docket_name=docket.name, docket_task=plan.function_name)) as operation:
            async with bounded():
                value = await stored_form(snapshot, docket, slot.redis_key, slot.ttl, operation)
                reservation = await reserve_in(slot, value)
            if not reservation.written:
                operation.skipped()
            return reservation
    except (CaptureError, SaveError):
        if current_settings().on_save_failure == "raise":
            raise
    except asyncio.CancelledError:
        # the server may have stored it all the same
        await Reservation(slot, value).abandon()
        raise
    return await _reserve_nothing(slot, reserve_in)


async def _reserve_batch(docket: Docket, slots: Sequence[Slot], chunk_size: int | None) -> list[Reservation]:
    """As :func:`_reserve_for`, for all tasks of a batch or none."""
    docket_seen(docket.name)
    reservations: list[Reservation] = []
    values: list[bytes] = []
    try:
        snapshot = capture_snapshot(docket.name)
        with saving(Save(docket_name=docket.name, count=len(slots))) as operation:
            async with bounded():
                values = [await stored_form(snapshot, docket, slot.redis_key, slot.ttl, operation) for slot in slots]
            size = chunk_size or max(1, len(slots))
            for start in range(0, len(slots), size):
                async with bounded():
                    reservations += await reserve_many(slots[start : start + size], values[start : start + size])
    except asyncio.CancelledError:
        await abandon_all(Reservation(slot, value) for slot, value in zip(slots, values, strict=False))
        raise
    except (CaptureError, SaveError):
        await abandon_all(reservations)
        if current_settings().on_save_failure == "raise":
            raise
        return [await _reserve_nothing(slot, reserve) for slot in slots]
    return reservations


async def _reserve_nothing(slot: Slot, reserve_in: _Reserve) -> Reservation:
    """The task is to run without context: see that it does not find an earlier run's."""
    try:
        async with bounded():
            return await reserve_in(slot, None)
    except BackendError:
        return Reservation(slot, None)


async def _schedule(plan: Plan, reservation: Reservation, schedule: Callable[[], Awaitable[Execution]]) -> Execution:
    """Have Docket schedule the task, and act on its answer."""
    try:
        plan.register_live(reservation)
        async with gate(plan.docket):
            execution = await schedule()
    except BaseException:
        plan.forget_live(reservation)
        await reservation.abandon()
        raise
    await _conclude(plan, reservation, execution)
    return execution


async def _conclude(plan: Plan, reservation: Reservation, execution: Execution) -> None:
    if not await reservation.conclude(execution):
        plan.forget_live(reservation)
