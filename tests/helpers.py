"""Small things that several tests share: callers to submit as, what a task sees of them, and waiting."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import Any, NoReturn

from docket import Docket, Worker
from docket.execution import Execution
from opentelemetry import baggage, context, trace

import taskctx
from taskctx._snapshot.keys import parse_task_key, snapshot_key
from tests.secrets import MARKER, secret

LOCALE: ContextVar[str | None] = ContextVar("locale", default=None)
"""A ContextVar of a user's; tests/contracts carries it."""


def run_well(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that must end well.  Where it does not, its errors are shown, which ``check=True`` hides."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert MARKER not in done.stderr, "a secret leaked into what a program said of an error"
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    return done


def end_on_memory() -> NoReturn:
    """End a program that used ``memory://``, well and at once.

    An interpreter that ends while a thread of burner-redis still hands over a result may be aborted by that thread.
    Can go when https://github.com/PyO3/pyo3-async-runtimes/issues/40 is solved.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@dataclass(frozen=True)
class Sight:
    """All that code can see of its caller, through the public getters.  As it stands: of an anonymous caller."""

    token: taskctx.AccessToken | None = None
    tenant_header: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    scope: str | None = None
    baggage: object = None
    locale: str | None = None


NOBODY = Sight()


def look() -> Sight:
    """What can be seen of the caller here and now, in a task."""
    return Sight(
        token=taskctx.get_access_token(),
        tenant_header=taskctx.get_http_headers().get("x-tenant"),
        request_id=taskctx.get_request_id(),
        session_id=taskctx.get_task_session_id(),
        scope=taskctx.get_task_scope(),
        baggage=baggage.get_baggage("tenant"),
        locale=LOCALE.get(),
    )


@dataclass(frozen=True)
class Caller:
    """A caller that submits tasks; ``request`` tells two requests of the same caller apart."""

    name: str
    request: str = "request-1"
    expires_at: int | None = None

    @property
    def token(self) -> taskctx.AccessToken:
        return taskctx.AccessToken(
            token=secret(f"token-{self.name}"), client_id=self.name, claims={"sub": "me"}, expires_at=self.expires_at
        )

    @property
    def scope(self) -> str:
        return f"{self.name}|me"

    @property
    def sight(self) -> Sight:
        """What a task of this caller's sees."""
        return Sight(
            token=self.token,
            tenant_header=secret(f"header-{self.name}"),
            request_id=f"{self.name}-{self.request}",
            session_id=secret(f"session-{self.name}"),
            scope=self.scope,
            baggage=secret(f"baggage-{self.name}"),
            locale=f"locale-{self.name}",
        )

    @contextmanager
    def bound(self) -> Generator[None]:
        """Be this caller, in every respect, for the length of a ``with`` block."""
        sight = self.sight
        token = context.attach(baggage.set_baggage("tenant", sight.baggage))
        locale = LOCALE.set(sight.locale)
        try:
            with taskctx.bind_caller(
                access_token=self.token,
                headers={"X-Tenant": sight.tenant_header or ""},
                request_id=sight.request_id,
                session_id=sight.session_id,
            ):
                yield
        finally:
            LOCALE.reset(locale)
            context.detach(token)

    @contextmanager
    def requesting(self) -> Generator[None]:
        """As :meth:`bound`, inside of a request's span."""
        with trace.get_tracer("tests").start_as_current_span("request"), self.bound():
            yield


ADA, BOB, BYSTANDER = Caller("ada"), Caller("bob"), Caller("bystander")


PATIENCE = 180.0
"""Seconds until a program that starts or ends is given up: one that imports FastMCP takes over a minute on a busy machine."""


async def wait_until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Return as soon as ``condition()``, or what it gives to await, is true."""
    deadline = time.monotonic() + timeout
    while True:
        holds = condition()
        if isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


@contextmanager
def handling(handler: logging.Handler, name: str = "", level: int | None = None) -> Generator[logging.Logger]:
    """Add a handler to a logger, by default the root logger, for the length of a block; ``level`` is the logger's level."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.addHandler(handler)
    if level is not None:
        logger.setLevel(level)
    try:
        yield logger
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


@asynccontextmanager
async def running(worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
    """Have a worker run while the block lasts; afterwards it finishes what it has begun."""
    run = asyncio.create_task(worker.run_forever())
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.wait([run])


async def shut_down_in_mid_task(worker: Worker, has_begun: Callable[[], Awaitable[object]]) -> None:
    """Run a worker, and interrupt it and its tasks as ``asyncio.run()`` does on Ctrl-C.

    Docket leaves the messages of such tasks pending, and another worker gets them as redelivered.
    """
    run = asyncio.create_task(worker.run_forever())
    await has_begun()
    run.cancel()
    for task in asyncio.all_tasks():
        if task.get_name().startswith(f"{worker.docket.name} - task:"):
            task.cancel()
    await asyncio.wait([run])


def redis_key(docket: Docket, task_key: str) -> str:
    """Where the snapshot of the task with this Docket key is stored."""
    parts = parse_task_key(task_key)
    assert parts is not None
    return docket.key(snapshot_key("taskctx", parts.task_scope, parts.task_id))


async def stored(docket: Docket, execution: Execution) -> bytes | None:
    """A task's snapshot, as stored."""
    async with docket.redis() as redis:
        return await redis.get(redis_key(docket, execution.key))


async def ttl(docket: Docket, execution: Execution) -> int:
    """Seconds that a task's snapshot has left; -2 when there is none."""
    async with docket.redis() as redis:
        return await redis.ttl(redis_key(docket, execution.key))


async def state(docket: Docket, execution: Execution) -> str | None:
    """Docket's word for where a task is."""
    async with docket.redis() as redis:
        found = await redis.hget(docket.runs_key(execution.key), "state")  # pyright: ignore[reportGeneralTypeIssues]
    return found.decode() if found else None
