"""How a task gets its caller, in a child: not at all, or by taskctx.  FastMCP's way is in ``fastmcp_path.py``."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from docket import Docket
from docket.dependencies import Dependency
from prometheus_client import CollectorRegistry

import taskctx

from . import callers

Task = Callable[[int], Awaitable[None]]

KEYS = "bench:" + base64.b64encode(bytes(range(32))).decode()


class _Nothing(Dependency[None]):
    """A dependency that does nothing: it shows what Docket takes for one."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class WithoutContext:
    """Docket alone, and the base of the other paths."""

    dependencies: Any = None
    """Of the worker."""

    def __init__(self, *, dependency: bool = False) -> None:
        if dependency:
            self.dependencies = {"nothing": _Nothing()}

    def install(self) -> None:
        """Set up the process for a leg."""

    def serving(self, _docket: Docket) -> AbstractAsyncContextManager[Any]:
        """A context manager around everything that is done on a docket."""
        return nullcontext()

    def request(self, number: int) -> Any:
        """The caller as a server has it in a request; made beforehand, and not measured."""
        return {
            "access_token": taskctx.AccessToken(**callers.ACCESS),
            "headers": callers.headers(number),
            "request_id": callers.request_id(number),
            "session_id": callers.SESSION,
        }

    async def submit(self, docket: Docket, task: Task, number: int, _request: Any) -> None:
        await docket.add(task)(number)

    async def submit_many(self, docket: Docket, task: Task, numbers: Sequence[int]) -> None:
        await docket.add_many([docket.call(task)(number) for number in numbers])

    def sees(self, _number: int) -> bool:
        """Whether the task of this number sees its own caller."""
        return True

    def captured(self, _number: int) -> Any:
        """The snapshot to save without a task; made beforehand."""
        return bytes(callers.SIZE)

    async def save(self, docket: Docket, number: int, captured: Any) -> None:
        async with docket.redis() as redis:
            await redis.set(docket.key(f"bench:{number}"), captured, ex=callers.TTL)

    async def restore(self, docket: Docket, number: int) -> None:
        async with docket.redis() as redis:
            await redis.get(docket.key(f"bench:{number}"))


class Taskctx(WithoutContext):
    """As in the README: ``bind_caller`` around ``taskctx.add``, and ``worker_dependencies``."""

    dependencies = taskctx.worker_dependencies

    def __init__(self, *, encrypted: bool = False, metrics: bool = False) -> None:
        super().__init__()
        self._settings: Any = {"metrics": metrics, **({"encryption_keys": KEYS} if encrypted else {})}

    def install(self) -> None:
        taskctx.configure(registry=CollectorRegistry(), **self._settings)

    async def submit(self, docket: Docket, task: Task, number: int, request: Any) -> None:
        with taskctx.bind_caller(**request):
            await taskctx.add(docket, task)(number)

    async def submit_many(self, docket: Docket, task: Task, numbers: Sequence[int]) -> None:
        with taskctx.bind_caller(**self.request(numbers[0])):
            await taskctx.add_many(docket, [docket.call(task)(number) for number in numbers])

    def sees(self, number: int) -> bool:
        return taskctx.get_task_scope() == callers.SCOPE and taskctx.get_request_id() == callers.request_id(number)

    def captured(self, number: int) -> taskctx.TaskContextSnapshot:
        with taskctx.bind_caller(**self.request(number)):
            return taskctx.TaskContextSnapshot.capture()

    async def save(self, docket: Docket, number: int, captured: taskctx.TaskContextSnapshot) -> None:
        await captured.save(docket, callers.SCOPE, str(number), callers.TTL)

    async def restore(self, docket: Docket, number: int) -> None:
        await taskctx.restore_task_snapshot(taskctx.build_task_key(callers.SCOPE, str(number), "task", "job"))
