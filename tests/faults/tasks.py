"""What the worker processes run: tasks that note whose context they see, and an observer that notes each restore."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from docket import Perpetual, Retry

import taskctx
from taskctx.operations import Operation, Restore
from tests.faults import gauge
from tests.faults.callers import whose
from tests.faults.ledger import Entry, Pen
from tests.faults.orders import BETWEEN_RUNS, RUNS, Job
from tests.helpers import LOCALE

pen = Pen.from_environment()
gauge.on_signal(pen)


class RestoreLedger:
    """Notes how every restore of a task of ours ended."""

    def on_start(self, operation: Operation) -> None: ...

    def on_event(self, event: Any) -> None: ...

    def on_end(self, operation: Operation, state: None) -> None:
        if isinstance(operation, Restore) and operation.task_id is not None:
            pen.write(
                Entry.RESTORED,
                task_id=operation.task_id,
                outcome=operation.outcome,
                reason=operation.reason,
                fails_task=operation.fails_task,
                attempt=operation.attempt,
                duration=operation.duration,
            )


async def work(job: Job) -> None:
    """Look at the beginning and at the end: nothing that others do in between may change what is seen."""
    pen.write(Entry.BEGAN, number=job.number, whose=whose(job.submission, job.callers, job.expires_at))
    await asyncio.sleep(job.seconds)
    pen.write(Entry.ENDED, number=job.number, whose=whose(job.submission, job.callers, job.expires_at))


async def persistent_work(job: Job, retry: Retry = Retry(attempts=100, delay=timedelta(milliseconds=100))) -> None:
    """As :func:`work`, tried again when its context is not to be had: what a fault delays, it does not lose."""
    await work(job)


async def failing_work(job: Job, retry: Retry = Retry(attempts=RUNS, delay=BETWEEN_RUNS)) -> None:
    """As :func:`work`, but only its last attempt succeeds."""
    await work(job)
    if retry.attempt < RUNS:
        raise RuntimeError("try again")


async def perpetual_work(job: Job, perpetual: Perpetual = Perpetual(every=BETWEEN_RUNS)) -> None:
    """As :func:`work`, again and again."""
    await work(job)
    perpetual.perpetuate(job.model_copy(update={"run": job.run + 1}))
    if job.run == RUNS:
        perpetual.cancel()


async def stalling_work(job: Job, retry: Retry = Retry(attempts=100, delay=timedelta(milliseconds=100))) -> None:
    """As :func:`persistent_work`, but nothing else gets its turn meanwhile."""
    time.sleep(job.seconds)  # noqa: ASYNC251
    await work(job.model_copy(update={"seconds": 0}))


collection = [work, persistent_work, failing_work, perpetual_work, stalling_work]

taskctx.carry(LOCALE, type=str | None)  # type: ignore[arg-type]
taskctx.configure(observers=[RestoreLedger()])
