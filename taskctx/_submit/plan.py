"""One task to be submitted: what was asked for, checked, and where its snapshot goes."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from docket import Docket
from docket.execution import TaskCall

from .._caller.caller import current_caller
from .._caller.registries import register_task_server, register_task_session, servers
from .._snapshot.keys import PLAIN_TASK, build_task_key, snapshot_key_of
from .._snapshot.lifetime import seconds_until, whole_seconds
from .._transport.backend import check_docket, check_open
from ..settings import current_settings
from .arguments import check_function, check_when
from .reservation import Reservation, Slot

TTL = float | timedelta | None
TaskFunction = Callable[..., Awaitable[Any]]


class Plan(NamedTuple):
    """One task to be submitted, its arguments checked."""

    docket: Docket
    function_name: str
    task_id: str
    is_fresh: bool
    when: datetime | None
    outlives: int | None
    call: TaskCall | None = None

    @classmethod
    def of(cls, docket: Docket, function: TaskFunction | str, when: datetime | None, key: str | None, ttl: TTL) -> Plan:
        check_docket(docket)
        if when is not None:
            check_when(when)
        name = _name_on(docket, function)
        outlives = None if ttl is None else whole_seconds(ttl)
        if key is not None:
            build_task_key(None, key, PLAIN_TASK, name)  # an id that cannot be used is refused now, not at submission
        return cls(docket, name, str(uuid.uuid4()) if key is None else key, key is None, when, outlives)

    @classmethod
    def of_call(cls, docket: Docket, call: TaskCall, ttl: TTL) -> Plan:
        check_when(call.when)
        outlives = None if ttl is None else whole_seconds(ttl)
        name = call.function_name or call.function.__name__
        return cls(docket, name, call.key, False, call.when, outlives, call)

    def slot(self, scope: str | None) -> Slot:
        check_open(self.docket)
        settings = current_settings()
        outlives = settings.pending_ttl if self.outlives is None else self.outlives
        task_key = build_task_key(scope, self.task_id, PLAIN_TASK, self.function_name)
        return Slot(
            docket=self.docket,
            task_key=task_key,
            redis_key=self.docket.key(snapshot_key_of(settings.key_prefix, task_key)),
            ttl=whole_seconds(seconds_until(self.when) + outlives),
            unique=self.is_fresh,
        )

    def register_live(self, reservation: Reservation) -> None:
        """Let workers in this process find the caller's live session and server, if this task is the caller's."""
        caller = current_caller.get()
        if not reservation.written:
            return
        if caller.session is not None and caller.session_id:
            register_task_session(caller.session_id, caller.session)
        if caller.server is not None:
            register_task_server(self.task_id, caller.server)

    def forget_live(self, reservation: Reservation) -> None:
        """The task is not to be.  The session stays: it is the caller's, whatever becomes of this task."""
        caller = current_caller.get()
        if reservation.written and caller.server is not None:
            servers.remove(self.task_id, caller.server)


def _name_on(docket: Docket, function: TaskFunction | str) -> str:
    """The name of a task that is on the docket from now on."""
    if isinstance(function, str):
        docket.tasks[function]  # as Docket does: KeyError for a name it does not know
        return function
    check_function(function)
    if docket.tasks.get(function.__name__) is not function:
        # what is on it already need not be looked at again: Docket's add does so once more
        docket.register(function)
    return function.__name__
