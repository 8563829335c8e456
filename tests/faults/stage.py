"""Submitters and workers in the test's own process, on the case's server, writing the case's ledger."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal

from docket import Docket, Retry
from docket.execution import Disposition, Execution
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

import taskctx
from taskctx import Observer, Settings
from taskctx._snapshot.keys import parse_task_key
from taskctx._transport import commands
from taskctx._transport.connection import connection_of
from taskctx.operations import Operation, Restore
from tests.conftest import make_worker
from tests.faults.callers import caller_of, whose
from tests.faults.interruption import Interrupted
from tests.faults.ledger import Entry, Pen
from tests.faults.orders import Job
from tests.helpers import redis_key

CALLERS = 100_000
"""More than there are tasks: each task has a caller of its own, and each caller some requests for it."""

BATCH = 3
LATER = timedelta(seconds=2)

Submit = Callable[[Job], Awaitable[list[Execution]]]


class Stage:
    """A docket with one task, which notes the context that it sees.

    Attributes:
        open_operations: of taskctx's, begun and not ended.
        restored: ids of the tasks whose restore began.
    """

    def __init__(self, docket: Docket, pen: Pen, encryption_keys: str) -> None:
        self.docket = docket
        self.open_operations = 0
        self.restored: set[str] = set()
        self._pen = pen
        self._numbers = count(step=BATCH)
        self._keys = encryption_keys
        for task in (self.work, self.retried_work):
            docket.register(task)

    def configure(
        self,
        *observers: Observer,
        on_save_failure: Literal["raise", "continue"] = "raise",
        backend_timeout: float = 30.0,
    ) -> None:
        """taskctx as in the processes of the other cases, but for these settings."""
        taskctx.configure(
            registry=CollectorRegistry(),
            observers=[self, *observers],
            encryption_keys=self._keys,
            on_save_failure=on_save_failure,
            backend_timeout=backend_timeout,
        )

    def on_start(self, operation: Operation) -> None:
        self.open_operations += 1

    def on_end(self, operation: Operation, state: None) -> None:
        self.open_operations -= 1
        if isinstance(operation, Restore):
            self.restored.add(operation.task_id or "")

    def on_event(self, event: Any) -> None: ...

    async def work(self, job: Job) -> None:
        self._pen.write(Entry.BEGAN, number=job.number, whose=whose(job.submission, job.callers))
        await asyncio.sleep(0)
        self._pen.write(Entry.ENDED, number=job.number, whose=whose(job.submission, job.callers))

    async def retried_work(self, job: Job, retry: Retry = Retry(attempts=2)) -> None:
        """As :meth:`work`, but it fails the first time."""
        await self.work(job)
        if retry.attempt == 1:
            raise RuntimeError("try again")

    def next_number(self) -> int:
        number = next(self._numbers)
        self._pen.write(Entry.INTENDED, number=number)
        return number

    async def as_caller(self, number: int, request: int, submit: Submit, *, accepted: bool = True) -> list[Execution]:
        """Submit the task with this number as its caller, in one of its requests; note that it was ``accepted``."""
        job = Job(number=number, submission=number + request * CALLERS, callers=CALLERS)
        with caller_of(job.submission, CALLERS).bound():
            executions = await submit(job)
        for offset, execution in enumerate(executions):
            parts = parse_task_key(execution.key)
            assert parts is not None
            assert execution.disposition in (Disposition.SCHEDULED, Disposition.ALREADY_SCHEDULED)
            if accepted:
                self._pen.write(Entry.ACCEPTED, number=number + offset, task_id=parts.task_id)
        return executions

    async def add(self, job: Job) -> list[Execution]:
        return [await taskctx.add(self.docket, self.work, key=str(job.number))(job)]

    async def add_retried(self, job: Job) -> list[Execution]:
        return [await taskctx.add(self.docket, self.retried_work, key=str(job.number))(job)]

    async def add_fresh(self, job: Job) -> list[Execution]:
        return [await taskctx.add(self.docket, self.work)(job)]

    async def add_later(self, job: Job) -> list[Execution]:
        return [await taskctx.add(self.docket, self.work, when=datetime.now(UTC) + LATER, key=str(job.number))(job)]

    async def replace(self, job: Job) -> list[Execution]:
        return [await taskctx.replace(self.docket, self.work, when=datetime.now(UTC), key=str(job.number))(job)]

    async def add_batch(self, job: Job) -> list[Execution]:
        jobs = [job.model_copy(update={"number": job.number + offset}) for offset in range(BATCH)]
        calls = [self.docket.call(self.work, key=str(each.number))(each) for each in jobs]
        return await taskctx.add_many(self.docket, calls, chunk_size=BATCH - 1)

    async def add_and_cancel(self, job: Job) -> list[Execution]:
        """A run that ends before the next submission; its snapshot gets ``completed_ttl``, as after a run."""
        executions = await self.add(job)
        await self.docket.cancel(executions[0].key)
        key = redis_key(self.docket, executions[0].key)
        await commands.expire(connection_of(self.docket), key, Settings().completed_ttl)
        return []

    async def cancelled(self, number: int, submit: Submit, nth: int, *, answered: bool, company: int) -> bool:
        """Submit and be cancelled at the n-th await; False when it does not come that far.

        Args:
            company: tasks that others submit at the same time, whose commands travel together with this one's.
        """
        self.forget_clock()
        submission = Interrupted(self.as_caller(number, 1, submit), nth, lambda: task.cancel(), answered=answered)  # noqa: PLW0108
        others = [asyncio.create_task(self.as_caller(self.next_number(), 1, self.add)) for _ in range(company)]
        task = asyncio.create_task(submission.run())
        others += [asyncio.create_task(self.as_caller(self.next_number(), 1, self.add)) for _ in range(company)]
        await asyncio.gather(*others)
        await asyncio.wait([task])
        assert task.cancelled() == submission.reached
        return submission.reached

    def forget_clock(self) -> None:
        """As a minute later: the server is asked for its time again."""
        connection_of(self.docket)._clock_due = 0.0  # pyright: ignore[reportPrivateUsage]

    async def live(self) -> set[str]:
        """Docket keys of the tasks that are scheduled."""
        connection = connection_of(self.docket)
        async with self.docket.redis() as client:
            redis: Redis = client  # type: ignore[assignment]
            prefix = self.docket.runs_key("")
            keys = [key.decode().removeprefix(prefix) async for key in redis.scan_iter(f"{prefix}*", count=1000)]
        return {key for key in keys if (await commands.record_of(connection, self.docket.runs_key(key))).live}

    async def work_off(self) -> None:
        """Run everything there is, and what other workers left behind."""
        async with make_worker(self.docket, redelivery_timeout=timedelta(seconds=1)) as worker:
            await worker.run_until_finished()
