"""Tasks of every shape that Docket knows, each from its submission to its end.

A contract is tried on all of them: :class:`Stage` notes what every run of a task sees, and lets a test step in
between submission and run (``interfere``).  The workers run among a bystander's context, which no task may see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import ConcurrencyLimit, Cron, CurrentExecution, Docket, Perpetual, RateLimit, Retry, Worker
from docket.execution import Disposition, Execution
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import taskctx
from tests.conftest import make_worker
from tests.helpers import ADA, BYSTANDER, Caller, Sight, look, shut_down_in_mid_task

Interference = Callable[[], Awaitable[None]]
SOON = timedelta(milliseconds=40)
REDELIVERY = timedelta(seconds=1)
"""Longer than a busy machine keeps a worker from renewing its lease, or a run is redelivered twice."""
"""For all workers of a docket: the first to come makes the others wait by its own timeout."""


async def nothing() -> None:
    """Leave it alone."""


class Stage:
    """Where tasks of one shape are submitted and run.

    Attributes:
        anonymous: nobody submits, instead of the callers.
        submitted: the caller of each task, by task id.
        origins: the ``taskctx.save`` span of each task, by Docket key.
        executions: of each task, in the order of submission.
        seen: task id and what each run saw, in the order of the runs; ``seen_since`` are those since the interference.
    """

    def __init__(
        self,
        docket: Docket,
        exporter: InMemorySpanExporter,
        interfere: Interference = nothing,
        *,
        anonymous: bool = False,
    ) -> None:
        self.docket = docket
        self._anonymous = anonymous
        self.submitted: dict[str, Caller] = {}
        self.origins: dict[str, ReadableSpan] = {}
        self.executions: list[Execution] = []
        self.seen: list[tuple[str, Sight]] = []
        self._exporter = exporter
        self._interfere = interfere
        self._before = 0

    @property
    def seen_since(self) -> list[tuple[str, Sight]]:
        return self.seen[self._before :]

    def see(self) -> None:
        task = taskctx.get_task_context()
        assert task is not None
        self.seen.append((task.task_id, look()))

    async def submit(self, submission: Callable[[], Awaitable[Execution]], caller: Caller = ADA) -> Execution:
        """Submit a task as ``caller``, in a request of its own."""
        with self.request_of(caller):
            return await self.note(caller, await submission())

    def request_of(self, caller: Caller) -> AbstractContextManager[None]:
        return nullcontext() if self._anonymous else caller.requesting()

    async def note(self, caller: Caller, execution: Execution) -> Execution:
        if execution.disposition is Disposition.SCHEDULED:
            task = execution.key.split(":")[-3]
            self.submitted[task] = caller
            saves = [span for span in self._exporter.get_finished_spans() if span.name == "taskctx.save"]
            self.origins[execution.key] = saves[-1]
            self.executions.append(execution)
        return execution

    async def interfere(self) -> None:
        self._before = len(self.seen)
        await self._interfere()

    async def work(self, at_most: dict[str, int] | None = None, **options: Any) -> None:
        """Run a worker among the bystander's context until nothing is left to do."""
        async with self.worker(**options) as worker:
            await (worker.run_until_finished() if at_most is None else worker.run_at_most(at_most))

    @asynccontextmanager
    async def worker(self, **options: Any) -> AsyncGenerator[Worker]:
        with BYSTANDER.bound():
            async with make_worker(self.docket, **options) as worker:
                yield worker


Shape = Callable[[Stage], Awaitable[None]]


async def immediate(stage: Stage) -> None:
    async def task() -> None:
        stage.see()

    await stage.submit(taskctx.add(stage.docket, task, key="1"))
    await stage.interfere()
    await stage.work()


async def scheduled(stage: Stage) -> None:
    async def task() -> None:
        stage.see()

    await stage.submit(taskctx.add(stage.docket, task, when=datetime.now(UTC) + SOON, key="1"))
    await stage.interfere()
    await stage.work()


async def retried(stage: Stage) -> None:
    async def task(retry: Retry = Retry(attempts=3, delay=SOON)) -> None:
        stage.see()
        if retry.attempt < 3:
            raise RuntimeError("try again")

    await stage.submit(taskctx.add(stage.docket, task, key="1"))
    await stage.interfere()
    await stage.work()


async def retried_after(stage: Stage) -> None:
    async def task(retry: Retry = Retry(attempts=3)) -> None:
        stage.see()
        if retry.attempt < 3:
            retry.after(SOON)

    await stage.submit(taskctx.add(stage.docket, task, key="1"))
    await stage.interfere()
    await stage.work()


async def redelivered(stage: Stage) -> None:
    begun = asyncio.Event()

    async def task(execution: Execution = CurrentExecution()) -> None:
        stage.see()
        if not execution.redelivered:
            begun.set()
            await asyncio.Event().wait()

    await stage.submit(taskctx.add(stage.docket, task, key="1"))
    async with stage.worker(name="doomed", redelivery_timeout=REDELIVERY) as doomed:
        await shut_down_in_mid_task(doomed, begun.wait)
    await stage.interfere()
    await stage.work(name="survivor", redelivery_timeout=REDELIVERY)


async def perpetual(stage: Stage) -> None:
    runs = 0

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=10))) -> None:
        nonlocal runs
        runs += 1
        stage.see()
        if runs == 10:
            perpetual.cancel()
        elif runs == 4:
            raise RuntimeError("perpetual tasks go on after a failure")

    execution = await stage.submit(taskctx.add(stage.docket, task, key="1"))
    await stage.interfere()
    await stage.work(at_most={execution.key: 10})


async def cron(stage: Stage) -> None:
    runs = 0

    async def task(cron: Cron = Cron("* * * * * *", automatic=False)) -> None:
        nonlocal runs
        runs += 1
        stage.see()
        if runs == 3:
            cron.cancel()

    execution = await stage.submit(taskctx.add(stage.docket, task, key="1"))
    await stage.interfere()
    await stage.work(at_most={execution.key: 3})


async def rate_limited(stage: Stage) -> None:
    async def task(limit: RateLimit = RateLimit(1, per=timedelta(milliseconds=100))) -> None:
        stage.see()

    for name in ("ada", "bob", "cleo"):
        await stage.submit(taskctx.add(stage.docket, task, key=name), Caller(name))
    await stage.interfere()
    await stage.work()


async def concurrency_limited(stage: Stage) -> None:
    async def task(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        stage.see()

    for name in ("ada", "bob", "cleo"):
        await stage.submit(taskctx.add(stage.docket, task, key=name), Caller(name))
    await stage.interfere()
    await stage.work()


async def replaced(stage: Stage) -> None:
    async def task() -> None:
        stage.see()

    later, now = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC)
    await stage.submit(taskctx.add(stage.docket, task, when=later, key="1"), ADA)
    stage.executions.clear()
    await stage.submit(taskctx.replace(stage.docket, task, when=now, key="1"), Caller("ada", "request-2"))
    await stage.interfere()
    await stage.work()


async def duplicated(stage: Stage) -> None:
    async def task() -> None:
        stage.see()

    await stage.submit(taskctx.add(stage.docket, task, key="1"), ADA)
    again = await stage.submit(taskctx.add(stage.docket, task, key="1"), Caller("ada", "request-2"))
    assert again.disposition is Disposition.ALREADY_SCHEDULED
    await stage.interfere()
    await stage.work()


async def child(stage: Stage) -> None:
    async def task() -> None:
        stage.see()

    async def parent() -> None:
        await stage.note(ADA, await taskctx.add(stage.docket, task, key="child")())
        await stage.interfere()

    with stage.request_of(ADA):
        await taskctx.add(stage.docket, parent, key="parent")()
    # one at a time, so that the child waits for what its parent does after submitting it
    await stage.work(concurrency=1)


SHAPES: dict[Shape, int] = {
    immediate: 1,
    scheduled: 1,
    retried: 3,
    retried_after: 3,
    redelivered: 2,
    perpetual: 10,
    cron: 3,
    rate_limited: 3,
    concurrency_limited: 3,
    replaced: 1,
    duplicated: 1,
    child: 1,
}
"""Every shape, and how many times bodies run in it."""


def shape_name(shape: Shape) -> str:
    return getattr(shape, "__name__", repr(shape))
