"""The submitter process: submits tasks as many callers, and does not give up on one before Docket has it."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from docket import Docket
from docket.execution import Disposition, Execution
from prometheus_client import REGISTRY

import taskctx
from taskctx._snapshot.keys import parse_task_key
from taskctx.errors import Reason
from taskctx.operations import Save
from tests.faults import tasks
from tests.faults.callers import caller_of
from tests.faults.ledger import Entry
from tests.faults.orders import Job, Order
from tests.faults.stall import Stall

RETRY_PAUSE = 0.1
BETWEEN_STALLS = 0.2


class Submitter:
    def __init__(self, order: Order, docket: Docket) -> None:
        self._order = order
        self._docket = docket
        self._stopped = False
        starts = order.numbers or range(order.first, order.first + order.count, order.batch or 1)
        self._starts = takewhile(lambda _: not self._stopped, starts)

    def stop(self) -> None:
        """Finish what was begun, and begin nothing more."""
        self._stopped = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(self._order.at_a_time):
                lanes.create_task(self._lane())

    async def _lane(self) -> None:
        for start in self._starts:
            jobs = self._jobs(start)
            for job in jobs:
                tasks.pen.write(Entry.INTENDED, number=job.number)
            while not await self._submitted(jobs):  # noqa: ASYNC110 - it is what a client does
                await asyncio.sleep(RETRY_PAUSE)
            await asyncio.sleep(self._order.pause)

    def _jobs(self, start: int) -> list[Job]:
        order, size = self._order, self._order.batch or 1
        submission = start // size + order.request * order.callers
        numbers = range(start, min(start + size, order.first + order.count)) if order.batch else [start]
        shared = {"submission": submission, **order.model_dump(include={"callers", "seconds", "expires_at"})}
        return [Job(number=number, **shared) for number in numbers]

    async def _submitted(self, jobs: list[Job]) -> bool:
        """Try once, and note how it went."""
        try:
            with caller_of(jobs[0].submission, self._order.callers, self._order.expires_at).bound():
                executions = await (self._add_many(jobs) if self._order.batch else self._add(jobs[0]))
        except taskctx.SaveError as error:
            for job in jobs:
                tasks.pen.write(Entry.REFUSED, number=job.number, reason=error.reason)
            return False
        except taskctx.ScheduleError:
            tasks.pen.write(Entry.UNSURE, number=jobs[0].number)
            return False
        if any(execution.disposition is Disposition.FAILED for execution in executions):
            tasks.pen.write(Entry.UNSURE, number=jobs[0].number)
            return False
        for job, execution in zip(jobs, executions, strict=True):
            parts = parse_task_key(execution.key)
            assert parts is not None
            tasks.pen.write(
                Entry.ACCEPTED, number=job.number, task_id=parts.task_id, answer=execution.disposition.value
            )
        return True

    async def _add(self, job: Job) -> list[Execution]:
        key = str(job.number) if self._order.keyed else None
        if self._order.replace:
            return [await taskctx.replace(self._docket, self._order.function, datetime.now(UTC), str(job.number))(job)]
        return [await taskctx.add(self._docket, self._order.function, when=self._due(), key=key)(job)]

    async def _add_many(self, jobs: list[Job]) -> list[Execution]:
        call, name, due = self._docket.call, self._order.function, self._due()
        return await taskctx.add_many(self._docket, [call(name, when=due, key=str(job.number))(job) for job in jobs])

    def _due(self) -> datetime | None:
        return datetime.now(UTC) + timedelta(seconds=self._order.ahead) if self._order.ahead else None


async def main(order: Order, kind: type[Docket] = Docket) -> None:
    """Submit what is ordered; SIGINT ends it early, and in peace."""
    if order.stall:
        taskctx.configure(observers=[Stall(Save, order.stall, every=order.stall + BETWEEN_STALLS)])
    async with kind(name=order.docket, url=order.url) as docket:
        for task in tasks.collection:
            docket.register(task)
        submitter = Submitter(order, docket)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, submitter.stop)
        await submitter.run()
    note_saves()


def note_saves() -> None:
    """What this process's metrics say, at its end."""
    saves_failed = {reason: _failed_saves(reason) for reason in Reason}
    tasks.pen.write(Entry.COUNTED, saves_failed=saves_failed, slow_saves=_slow_saves())


def _failed_saves(reason: Reason) -> int:
    return int(_counted("taskctx_save_failures_total", reason=reason))


def _slow_saves() -> int:
    """How many took more than a quarter of a second, which is a bound of the metric's buckets."""
    name = "taskctx_save_duration_seconds"
    return int(_counted(f"{name}_count") - _counted(f"{name}_bucket", le="0.25"))


def _counted(name: str, **labels: str) -> float:
    """Of all dockets together."""
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


if __name__ == "__main__":
    asyncio.run(main(Order.model_validate_json(sys.argv[1])))
