"""One case of fault: processes, a server, a ledger, and the verdict on what became of every task."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docket import Docket
from redis.asyncio import Redis

from taskctx.cli.processes import free_port
from taskctx.errors import Reason
from taskctx.settings.keyring import generate_key
from tests.faults.ledger import DIRECTORY, Ledger, Whose
from tests.faults.orders import Order
from tests.faults.report import Row
from tests.helpers import wait_until
from tests.processes.support import ROOT, Process, Starter, scrape, value

SETTLING = 120.0
"""Seconds after which tasks that are not done are lost."""

MANY = 10_000
"""Tasks that a submitter is not done with before it is told to stop."""

PATIENT = {"TASKCTX_BACKEND_TIMEOUT": "30"}
"""For cases in which Redis does nothing wrong, on a machine that may be slow."""

GONE = -2
"""The TTL of a key that is not there."""


@dataclass
class Case:
    """What a case works with.

    Attributes:
        url: of the server where the docket lives.
        server_url: of the one that has its keys in the end, where ``url`` names several.
        environment: of every process that is started: settings of taskctx and of the tests.
    """

    start: Starter
    directory: Path
    url: str
    docket_name: str
    server_url: str = ""
    environment: dict[str, str] = field(
        repr=False,
        default_factory=lambda: {"TASKCTX_ENCRYPTION_KEYS": f"k1:{generate_key()}", "TASKCTX_BACKEND_TIMEOUT": "2"},
    )
    workers: dict[int, Worker] = field(default_factory=dict[int, "Worker"])
    submitters: list[Process] = field(default_factory=list[Process])
    began: float = field(default_factory=time.monotonic)
    row: Row | None = None

    def __post_init__(self) -> None:
        self.ledger_directory.mkdir()
        self.ledger = Ledger(self.ledger_directory)

    @property
    def ledger_directory(self) -> Path:
        return self.directory / "ledger"

    async def worker(self, *options: str, command: Collection[str] = (), **environment: str) -> Worker:
        """Start ``docket worker`` and wait until it serves its metrics.

        Args:
            options: more of its options.
            command: what it is started with, for example ``faketime``.
            environment: more of its environment.
        """
        port = free_port()
        worker = Worker(self._start(command, self._worker_words(port, *options), environment), port)
        await worker.process.ready(lambda: scrape(port))
        self.workers[worker.process.pid] = worker
        return worker

    def submitter(
        self, count: int, *, command: Collection[str] = (), environment: dict[str, str] | None = None, **order: Any
    ) -> Process:
        """Start a process that submits ``count`` tasks; ``order`` is the rest of :class:`Order`."""
        words = ["-m", "tests.faults.submitter", self._order(count=count, **order)]
        self.submitters.append(self._start(command, words, environment or {}))
        return self.submitters[-1]

    def flooder(self, **order: Any) -> Process:
        """Start a process that submits what is ordered, and as much again whenever it gets SIGUSR2."""
        self.submitters.append(self._start((), ["-m", "tests.faults.flooder", self._order(**order)], {}))
        return self.submitters[-1]

    async def doomed(self, *orders: dict[str, Any]) -> None:
        """Have a submitter die for each order: of SIGKILL, between the save and the scheduling of its first task."""
        texts = [self._order(**({"count": 1, "at_a_time": 1} | order)) for order in orders]
        self.submitters.append(self._start((), ["-m", "tests.faults.doomed", *texts], {}))
        await self.done(self.submitters[-1])

    async def finish(self, submitter: Process) -> None:
        """SIGINT: it has what it began accepted, and ends."""
        os.kill(submitter.pid, signal.SIGINT)
        await self.done(submitter)

    async def retire(self, worker: Worker) -> None:
        """SIGTERM: it finishes the tasks that it began, and ends."""
        del self.workers[worker.process.pid]
        worker.process.popen.terminate()
        await wait_until(lambda: worker.process.ended)
        assert worker.process.popen.returncode == 0, worker.process.output

    def kill(self, worker: Worker) -> None:
        """SIGKILL; what the worker counted is gone with it."""
        worker.process.kill()
        del self.workers[worker.process.pid]

    async def kill_in_mid_task(self, worker: Worker) -> set[int]:
        """SIGKILL while tasks of its are under way; gives their numbers."""
        pid = worker.process.pid
        while True:
            await self.until(lambda ledger: ledger.under_way[pid])
            # stopped first, so that no task ends between the look and the kill
            os.kill(pid, signal.SIGSTOP)
            if cut_off := set(self.ledger.refresh().under_way[pid]):
                self.kill(worker)
                return cut_off
            os.kill(pid, signal.SIGCONT)

    async def progress(self, tasks: int) -> None:
        """Wait until so many more tasks have ended."""
        target = self.ledger.refresh().ended + tasks
        await self.until(lambda ledger: ledger.ended >= target)

    async def done(self, *submitters: Process) -> None:
        """Wait until these submitters have had all their tasks accepted."""
        await self.until(lambda _: all(each.ended for each in submitters), timeout=SETTLING)

    async def until(self, condition: Callable[[Ledger], object], timeout: float = 60.0) -> None:
        """Wait until the ledger says so."""

        def holds() -> object:
            broken = [each.output for each in self.submitters if (each.popen.poll() or 0) > 0]
            assert not broken, broken[0]
            return condition(self.ledger.refresh())

        await wait_until(holds, timeout=timeout)

    async def settled(self, wiped: Callable[[int], bool] = lambda number: False) -> None:
        """Wait until every accepted task has run or was refused, but for those that the server itself lost."""

        def open_tasks(ledger: Ledger) -> list[int]:
            return [number for number in ledger.unsettled() if not wiped(number)]

        with suppress(AssertionError):  # the verdict names those that are left
            await self.until(lambda ledger: not open_tasks(ledger), timeout=SETTLING)

    async def verdict(self, wiped: Collection[int] = ()) -> Row:
        """Hold what must hold in every case, and give the case's row for what else it has to assert.

        No task is lost, none saw another's context, none ran anonymous, every failure was counted, and every key of
        ours has a TTL.

        Args:
            wiped: numbers of accepted tasks that the server itself lost, with its queue.
        """
        await self.settled(lambda number: number in set(wiped))
        ledger = self.ledger.refresh()
        lost = set(ledger.unsettled()) - set(wiped)
        self.row = Row(
            tasks=len(ledger.fates),
            ran=ledger.ended,
            lost=len(lost),
            wiped=len(set(wiped) & set(ledger.unsettled())),
            wrong=ledger.seen(Whose.ANOTHERS),
            anonymous=ledger.seen(Whose.NOBODYS),
            saves_refused=dict(ledger.failed_saves()),
            restores_failed=dict(ledger.failed_restores()),
            seconds=time.monotonic() - self.began,
        )
        assert not lost, f"{len(lost)} tasks were lost, among them {sorted(lost)[:10]}"
        assert self.row.wrong == 0, "a task saw another caller's context"
        assert self.row.anonymous == 0, "a task ran anonymous although it is to fail then"
        await self._counted()
        assert await self.without_ttl() == []
        return self.row

    async def without_ttl(self) -> list[str]:
        """Keys of ours that would stay for ever, a sweep's own among them."""
        return [key for key, ttl in (await self._ttls("*")).items() if ttl == -1]

    async def ttls(self) -> dict[str, int]:
        """Keys of snapshots, and the seconds that each has left."""
        return await self._ttls("task:*")

    async def _ttls(self, pattern: str) -> dict[str, int]:
        prefix = Docket(name=self.docket_name, url=self.url).prefix
        async with Redis.from_url(self.server_url or self.url) as redis:
            keys = [key async for key in redis.scan_iter(match=f"{prefix}:taskctx:{pattern}", count=1000)]
            pipeline = redis.pipeline(transaction=False)
            for key in keys:
                pipeline.ttl(key)
            ttls = zip(keys, await pipeline.execute(), strict=True)
        return {key.decode(): ttl for key, ttl in ttls if ttl != GONE}

    async def _counted(self) -> None:
        """The metrics of the processes that are left say what the ledger says."""
        for pid, worker in self.workers.items():
            await wait_until(
                lambda pid=pid, worker=worker: worker.failed_restores() == self.ledger.refresh().failed_restores(pid)
            )
        for pid, counted in self.ledger.saves_counted.items():
            assert +counted == self.ledger.saves_refused[pid]

    def _order(self, **order: Any) -> str:
        return Order(docket=self.docket_name, url=self.url, **order).model_dump_json()

    def _worker_words(self, port: int, *options: str) -> list[str]:
        words = ["-m", "docket", "worker", "--docket", self.docket_name, "--url", self.url, "--name", f"w{port}"]
        words += ["--tasks", "tests.faults.tasks:collection", "--dependencies", "taskctx:worker_dependencies"]
        words += ["--metrics-port", str(port), "--logging-level", "INFO"]
        return [*words, "--redelivery-timeout", "2s", *options]

    def _start(self, command: Collection[str], words: list[str], environment: dict[str, str]) -> Process:
        ours = self.environment | {DIRECTORY: str(self.ledger_directory)}
        return self.start([*command, sys.executable, *words], cwd=ROOT, **(ours | environment))


@dataclass
class Worker:
    """A ``docket worker`` process and where its metrics are."""

    process: Process
    port: int

    @property
    def name(self) -> str:
        """Docket's for it."""
        return f"w{self.port}"

    def failed_restores(self) -> Counter[str]:
        """By reason, as its metrics have it."""
        families = scrape(self.port)
        counts = {each.value: value(families, "taskctx_restore_failures_total", reason=each) for each in Reason}
        return +Counter({reason: int(count or 0) for reason, count in counts.items()})
