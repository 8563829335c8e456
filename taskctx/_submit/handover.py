"""Gives tasks with a saved context to Docket, until Docket has scheduled them or has certainly not.

Docket's answer may be lost, or the server may answer "later".  Asking again is safe: Docket schedules a key once.
Before asking again, Docket's record of the task shows whether it was scheduled; it may even have run by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import TypeVar

from docket.execution import Disposition, Execution, TaskCall

from .._caller.trace_context import continuing
from .._transport import commands
from .._transport.answers import FAILURES, later
from .._transport.deadline import BackendError, Deadline
from .._transport.retries import backend_error, persist
from ..errors import ScheduleError
from ..operations import NotScheduled
from ..telemetry.observe import notify
from .scheduling import own_error
from .submission import Standing, Submission

T = TypeVar("T")
Many = Callable[[Sequence[TaskCall]], Awaitable[Sequence[Execution]]]


async def hand_over(submission: Submission, call: TaskCall, schedule: Callable[[], Awaitable[Execution]]) -> Execution:
    """Let Docket schedule a task, and act on its answer.

    Raises:
        ScheduleError: the server did not accept the task, or did not answer.
    """
    caller = submission.origin.caller

    async def again() -> Execution:
        return await _scheduled_already(submission, call) or await schedule()

    try:
        if caller.session is not None or caller.server is not None:
            submission.register_live()
        with nullcontext() if submission.saved_in is None else continuing(submission.saved_in):
            try:
                execution = await schedule()
            except FAILURES as failure:
                execution = await _again(submission, again, failure)
    except BaseException as error:
        await submission.abandon()
        _report_not_scheduled(error, [submission])
        if not isinstance(error, BackendError):
            raise
        failed = ScheduleError(error.reason, error.cause)
    else:
        if execution.disposition is not Disposition.SCHEDULED or submission.standing is not Standing.OURS:
            await submission.conclude(execution)
        return execution
    # outside of the except block, see Submission.save
    raise failed


async def hand_over_all(
    submissions: Sequence[Submission], calls: Sequence[TaskCall], schedule: Many
) -> list[Execution]:
    """Do :func:`hand_over` for a batch.  When Docket refuses a single task, that task's execution holds the error."""
    batch = _Batch(submissions, calls, schedule)
    try:
        for submission in submissions:
            submission.register_live()
        try:
            executions = await batch.schedule_rest()
        except FAILURES as failure:
            executions = await _again(submissions[0], batch.again, failure)
    except BaseException as error:
        await abandon_all(submissions)
        _report_not_scheduled(error, submissions)
        if not isinstance(error, BackendError):
            raise
        failed = ScheduleError(error.reason, error.cause)
    else:
        concluding: list[Awaitable[None]] = []
        for submission, execution in zip(submissions, executions, strict=True):
            if (refused := own_error(execution)) is not None:
                _report_not_scheduled(backend_error(refused), [submission])
            if execution.disposition is not Disposition.SCHEDULED or submission.standing is not Standing.OURS:
                concluding.append(submission.conclude(execution))
        await asyncio.gather(*concluding)
        return executions
    # outside of the except block, see Submission.save
    raise failed


class _Batch:
    """Tasks that are scheduled together, until each has its answer."""

    def __init__(self, submissions: Sequence[Submission], calls: Sequence[TaskCall], schedule: Many) -> None:
        self._submissions = submissions
        self._calls = calls
        self._schedule = schedule
        self._answers: dict[int, Execution] = {}

    async def schedule_rest(self) -> list[Execution]:
        """Let Docket schedule the tasks without an answer; raises an answer that means "later"."""
        rest, put_off = self._rest(), list[Exception]()
        executions = await self._schedule([self._calls[place] for place in rest])
        for place, execution in zip(rest, executions, strict=True):
            refused = own_error(execution)
            if refused is not None and later(refused):
                put_off.append(refused)
            else:
                self._answers[place] = execution
        if put_off:
            raise put_off[0]
        return [self._answers[place] for place in range(len(self._calls))]

    async def again(self) -> list[Execution]:
        """Do :meth:`schedule_rest`, without the tasks that Docket has scheduled although its answer was lost."""
        rest = self._rest()
        found = await asyncio.gather(
            *(_scheduled_already(self._submissions[place], self._calls[place]) for place in rest)
        )
        self._answers |= {place: each for place, each in zip(rest, found, strict=True) if each is not None}
        return await self.schedule_rest()

    def _rest(self) -> list[int]:
        return [place for place in range(len(self._calls)) if place not in self._answers]


async def abandon_all(submissions: Sequence[Submission]) -> None:
    """Do :meth:`Submission.abandon` for a batch, within one deadline."""
    with submissions[0].best_effort():
        await asyncio.gather(*(each.take_back_unless_scheduled() for each in submissions), return_exceptions=True)


async def _again(submission: Submission, again: Callable[[], Awaitable[T]], failure: Exception) -> T:
    """Try again within ``backend_timeout``.

    Raises:
        BackendError: no attempt succeeded.
    """
    timers = submission.connection.timers
    with Deadline(timers, submission.origin.runtime.settings.backend_timeout):
        return await persist(again, failure, timers.next_deadline)


async def _scheduled_already(submission: Submission, call: TaskCall) -> Execution | None:
    """The execution, where Docket scheduled the task and its answer was lost.  The task may have ended by now."""
    if not submission.is_own(await commands.record_of(submission.connection, submission.record_key), call.when):
        return None
    found = Execution(
        submission.docket,
        call.function,
        call.args,
        call.kwargs,
        call.key,
        call.when,
        attempt=1,
        function_name=call.function_name,
    )
    found.disposition = Disposition.SCHEDULED
    return found


def _report_not_scheduled(error: BaseException, submissions: Sequence[Submission]) -> None:
    """Tell the observers that tasks with a saved context were not scheduled; a cancelled request is no failure."""
    if isinstance(error, Exception):
        first = submissions[0]
        reason, cause = (error.reason, error.cause) if isinstance(error, BackendError) else (None, None)
        notify(NotScheduled(first.docket.name, first.name, reason, cause, len(submissions)), first.origin.runtime)
