"""A server: submits tasks as its requests come in, and runs those of two of its dockets itself.

Orders on stdin: ``good`` and ``faults`` say what traffic there is from then on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

from docket import Docket, Worker
from docket.execution import Execution
from opentelemetry import baggage, context, trace
from prometheus_client import start_http_server

import taskctx
from tests import secrets
from tests.stack import child, faults, workload

REQUESTS, NIGHTLY, LIVE = "requests", "nightly", "live"
"""Dockets: run by remote workers; of few tasks, run here; of tasks that need live sessions, run here."""

TICK = 0.2
"""Seconds between two bursts of requests."""

NIGHTLY_TASKS = 12
"""Fewer than a burn rate alert looks at."""

HOUR = 3600


class Traffic:
    """Requests, in the same mixture tick by tick."""

    def __init__(self, dockets: dict[str, Docket]) -> None:
        self.faulty = False
        self._requests, self._nightly, self._live = (dockets[name] for name in (REQUESTS, NIGHTLY, LIVE))
        self._sessions = {f"session-{number}": faults.Session() for number in range(2)}
        self._numbers = count(1)
        self._nightly_left = NIGHTLY_TASKS

    async def run(self) -> None:
        for tick in count():
            await self._good(tick)
            if self.faulty:
                await self._bad(tick)
            await asyncio.sleep(TICK)

    async def _good(self, tick: int) -> None:
        with self._request():
            await taskctx.add(self._requests, workload.summarize)()
            await taskctx.add(self._requests, workload.summarize, when=_in(0.5))()
        for session_id, session in self._sessions.items():
            with self._request(), taskctx.bind_caller(session_id=session_id, session=session, server=self):
                await taskctx.add(self._live, workload.push)()
        if tick % 5 == 0:
            with self._request():
                await taskctx.add(self._requests, workload.flaky)()
            with taskctx.anonymous():
                await taskctx.add(self._requests, workload.summarize)()

    async def _bad(self, tick: int) -> None:
        token, too_late = faults.expiring()
        with self._request(token):
            await taskctx.add(self._requests, workload.charge, when=too_late)()
        await faults.lose(self._requests, await self._pending(self._requests))
        await faults.damage(self._requests, await self._pending(self._requests))
        session_id = f"gone-{next(self._numbers)}"
        faults.dead_session(session_id)
        with self._request(), taskctx.bind_caller(session_id=session_id, server=self):
            await taskctx.add(self._live, workload.push)()
        if tick % 5 == 0 and self._nightly_left:
            self._nightly_left -= 1
            execution = await self._pending(self._nightly)
            if self._nightly_left % 3 == 0:
                await faults.lose(self._nightly, execution)

    async def _pending(self, docket: Docket) -> Execution:
        """A task that is not yet due."""
        with self._request():
            return await taskctx.add(docket, workload.deliver, when=_in(faults.AHEAD))()

    @contextmanager
    def _request(self, token: taskctx.AccessToken | None = None) -> Generator[None]:
        """A request, with all that a caller may bring."""
        baggages = context.attach(baggage.set_baggage("tenant", secrets.secret("tenant")))
        token = token or secrets.token(expires_at=int(time.time()) + HOUR)
        caller = taskctx.bind_caller(
            access_token=token, headers=secrets.headers(), request_id=f"request-{next(self._numbers)}"
        )
        try:
            with trace.get_tracer("tests").start_as_current_span("request"), caller:
                yield
        finally:
            context.detach(baggages)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def main() -> None:
    async with AsyncExitStack() as stack:
        dockets = {name: Docket(name=name, url=os.environ["DOCKET_URL"]) for name in (REQUESTS, NIGHTLY, LIVE)}
        for docket in dockets.values():
            await stack.enter_async_context(docket)
            for task in workload.collection:
                docket.register(task)
        workers = [
            await stack.enter_async_context(Worker(dockets[name], dependencies=taskctx.worker_dependencies))
            for name in (NIGHTLY, LIVE)
        ]
        endpoint, _ = start_http_server(int(os.environ["METRICS_PORT"]), "127.0.0.1")
        stack.callback(endpoint.shutdown)
        traffic = Traffic(dockets)
        # one that crashes ends the process, and so is noticed
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(worker.run_forever()) for worker in workers]
            running.append(group.create_task(traffic.run()))
            async for order in child.orders():
                traffic.faulty = order == "faults"
            for each in running:
                each.cancel()


if __name__ == "__main__":
    asyncio.run(main())
