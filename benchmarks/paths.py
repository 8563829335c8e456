"""How a task gets its caller, in a child: not at all, or by taskctx.  FastMCP's way is in ``fastmcp_path.py``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from docket import Docket
from docket.dependencies import current_docket
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._snapshot.keys import PLAIN_TASK, build_task_key, parse_task_key, snapshot_key

from . import callers
from .callers import NOBODY, Sight

Task = Callable[[int], Awaitable[None]]

TTL = 3_600
"""Seconds that a snapshot lives which is saved without a task."""

LARGEST = 256 * 1024
"""The largest payload, sealed, is above the ``max_snapshot_bytes`` of 65536 that holds by default."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot that was captured beforehand, and where it goes."""

    snapshot: Any
    task_id: str
    task_key: str


def access_token(payload: int | None) -> taskctx.AccessToken:
    """The caller's, as taskctx has it."""
    return taskctx.AccessToken(
        token=callers.token(payload),
        client_id=callers.CLIENT,
        scopes=list(callers.SCOPES),
        expires_at=callers.expires_at(),
        claims=dict(callers.claims()),
    )


def place(docket: Docket, task_id: str) -> str:
    """Where taskctx keeps the caller's snapshot, written down: making it is not what is measured."""
    return docket.key(f"taskctx:task:auth:reports-app%7Cada:{task_id}:snapshot")


class Path(Protocol):
    """One way for a caller to come to a task.

    ``caller`` and ``keep`` prepare what a server has at hand in a request, and are not measured; the rest is.
    """

    @property
    def dependencies(self) -> Mapping[str, Any] | Sequence[Any] | None:
        """Of the worker."""
        ...

    def serving(self, docket: Docket) -> Any:
        """An async context in which tasks are submitted and run."""
        ...

    def caller(self, number: int, payload: int | None) -> Any:
        """The caller of a task, as it stands in a request."""
        ...

    async def submit(self, docket: Docket, task: Task, number: int, caller: Any) -> None: ...

    async def submit_many(self, docket: Docket, task: Task, numbers: range) -> None: ...

    def seen(self) -> Sight:
        """What the current code sees of its caller."""
        ...

    def expected(self, number: int) -> Sight:
        """What a task is to see."""
        ...

    def redis_key(self, docket: Docket, task_key: str) -> str:
        """Where a task's snapshot is stored."""
        ...

    def keep(self, number: int) -> Kept: ...

    async def save(self, docket: Docket, kept: Kept) -> None: ...

    async def restore(self, kept: Kept) -> None: ...


class WithoutContext:
    """Docket alone."""

    dependencies = None

    @asynccontextmanager
    async def serving(self, docket: Docket) -> AsyncGenerator[None]:
        yield

    def caller(self, number: int, payload: int | None) -> None:
        return None

    async def submit(self, docket: Docket, task: Task, number: int, caller: None) -> None:
        await docket.add(task)(number)

    async def submit_many(self, docket: Docket, task: Task, numbers: range) -> None:
        await docket.add_many([docket.call(task)(number) for number in numbers])

    def seen(self) -> Sight:
        return NOBODY

    def expected(self, number: int) -> Sight:
        return NOBODY

    def redis_key(self, docket: Docket, task_key: str) -> str:
        raise NotImplementedError

    def keep(self, number: int) -> Kept:
        raise NotImplementedError

    async def save(self, docket: Docket, kept: Kept) -> None:
        raise NotImplementedError

    async def restore(self, kept: Kept) -> None:
        raise NotImplementedError


class Taskctx:
    """taskctx as in the README: ``bind_caller`` around ``taskctx.add``, and ``worker_dependencies``.

    Counted in a Prometheus registry, as by default, or not; sealed when ``TASKCTX_ENCRYPTION_KEYS`` is in the
    environment.
    """

    dependencies = taskctx.worker_dependencies

    def __init__(self, *, encrypted: bool, metrics: bool = True) -> None:
        settings = taskctx.configure(registry=CollectorRegistry(), max_snapshot_bytes=LARGEST, metrics=metrics)
        if (settings.encryption_keys is not None) is not encrypted:
            raise RuntimeError("TASKCTX_ENCRYPTION_KEYS is not as this variant has it")

    @asynccontextmanager
    async def serving(self, docket: Docket) -> AsyncGenerator[None]:
        taken = current_docket.set(docket)
        try:
            yield
        finally:
            current_docket.reset(taken)

    def caller(self, number: int, payload: int | None) -> dict[str, Any]:
        return {
            "access_token": access_token(payload),
            "headers": callers.headers(number, payload),
            "request_id": callers.request_id(number),
            "session_id": callers.SESSION,
        }

    async def submit(self, docket: Docket, task: Task, number: int, caller: dict[str, Any]) -> None:
        with taskctx.bind_caller(**caller):
            await taskctx.add(docket, task)(number)

    async def submit_many(self, docket: Docket, task: Task, numbers: range) -> None:
        with taskctx.bind_caller(**self.caller(0, None)):
            await taskctx.add_many(docket, [docket.call(task)(number) for number in numbers])

    def seen(self) -> Sight:
        token = taskctx.get_access_token()
        return Sight((token.claims or {}).get("sub") if token else None, taskctx.get_request_id())

    def expected(self, number: int) -> Sight:
        return callers.expected(number)

    def redis_key(self, docket: Docket, task_key: str) -> str:
        parts = parse_task_key(task_key)
        if parts is None:
            raise ValueError("a task that taskctx did not submit")
        return docket.key(snapshot_key("taskctx", parts.task_scope, parts.task_id))

    def keep(self, number: int) -> Kept:
        task_id = f"kept-{number}"
        with taskctx.bind_caller(**self.caller(number, None)):
            key = build_task_key(taskctx.get_task_scope(), task_id, PLAIN_TASK, "look")
            return Kept(taskctx.TaskContextSnapshot.capture(), task_id, key)

    async def save(self, docket: Docket, kept: Kept) -> None:
        await kept.snapshot.save(docket, f"{callers.CLIENT}|{callers.SUBJECT}", kept.task_id, TTL)

    async def restore(self, kept: Kept) -> None:
        await taskctx.restore_task_snapshot(kept.task_key)
