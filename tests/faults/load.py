"""Tasks that keep coming until they are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from taskctx.errors import Reason
from tests.faults.case import Case
from tests.faults.ledger import Ledger
from tests.processes.support import Process

PERSISTENT: dict[str, Any] = {"function": "persistent_work"}
UNKEYED = PERSISTENT | {"keyed": False}
BATCHES = PERSISTENT | {"batch": 10, "at_a_time": 2}
"""Orders for tasks that must not be lost."""

BUSY = ("--concurrency", "50", "--reconnection-delay", "1s")
"""Options of a worker that does much at the same time, and does not wait long for a server that went away."""

ENDLESS = 1_000_000
PAUSE = 1.0
"""Seconds, in each of ten lanes: what a worker can keep up with on a machine that has other things to do."""

ENOUGH = 10
"""Tasks of a submitter's, and in a worker, after which it counts as going on."""


@dataclass
class Load:
    """Submitters that go on until :meth:`finish`.

    Attributes:
        submitters: each with task numbers of its own, :data:`ENDLESS` apart.
    """

    case: Case
    submitters: list[Process]

    @classmethod
    async def of(cls, case: Case, *orders: dict[str, Any]) -> Load:
        """Start a submitter for each order, and wait until all workers run what all of them submit."""
        numbered: list[dict[str, Any]] = [
            {"first": index * ENDLESS, "pause": PAUSE} | order for index, order in enumerate(orders)
        ]
        load = cls(case, [case.submitter(ENDLESS, **order) for order in numbered])
        await load.goes_on()
        return load

    async def goes_on(self) -> None:
        """Wait until every submitter has had more tasks accepted that have run, and every worker has run more."""
        ledger = self.case.ledger.refresh()
        known, ended_in = set(ledger.fates), ledger.ended_in.copy()

        def moves(ledger: Ledger) -> bool:
            if any(ledger.ended_in[pid] < ended_in[pid] + ENOUGH for pid in self.case.workers):
                return False
            new = [number // ENDLESS for number, fate in ledger.fates.items() if fate.ended and number not in known]
            return all(new.count(index) >= ENOUGH for index in range(len(self.submitters)))

        await self.case.until(moves)

    @asynccontextmanager
    async def backlog(self, tasks: int = 40) -> AsyncGenerator[None]:
        """Stop the workers until there is a backlog of every submitter's, and let them loose after the block.

        What a worker had in its hands as it stopped, restored and not ended, is no backlog.
        """
        with frozen(*self.case.workers):
            known = set(self.case.ledger.refresh().fates)

            def piled_up(ledger: Ledger) -> bool:
                waiting = Counter(number // ENDLESS for number in ledger.unsettled() if number not in known)
                return waiting.total() >= tasks and all(waiting[i] >= ENOUGH for i in range(len(self.submitters)))

            await self.case.until(piled_up)
            yield

    async def rush(self) -> None:
        """Return as the workers begin to work off a backlog, many tasks at once."""
        async with self.backlog():
            began = self.case.ledger.began
        await self.case.until(lambda ledger: ledger.began > began)

    async def refused(self, *reasons: Reason) -> None:
        """Wait until every submitter has had more saves refused, for one of these reasons (or any)."""
        before = _refused(self.case.ledger.refresh(), reasons)
        pids = [submitter.pid for submitter in self.submitters]

        def more(ledger: Ledger) -> bool:
            now = _refused(ledger, reasons)
            return all(now.get(pid, 0) > before.get(pid, 0) for pid in pids)

        await self.case.until(more)

    async def finish(self) -> None:
        """Have everything accepted that was begun."""
        await asyncio.gather(*(self.case.finish(submitter) for submitter in self.submitters))

    async def all_run(self) -> None:
        """Finish, and wait until every single task has run to its end: none was merely refused."""
        await self.finish()
        await self.case.until(lambda ledger: ledger.ended == len(ledger.fates), timeout=120)


def _refused(ledger: Ledger, reasons: tuple[Reason, ...]) -> dict[int, int]:
    """Saves refused, by process id."""
    return {pid: sum(counts[reason] for reason in reasons or Reason) for pid, counts in ledger.saves_refused.items()}


@contextmanager
def frozen(*pids: int) -> Generator[None]:
    """These processes do nothing while the block lasts."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
