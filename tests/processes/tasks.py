"""What the worker processes of these tests run.  Never imported by the tests themselves.

Each task tells what it saw through a list in Redis, so that nothing of it passes through a log.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextvars import ContextVar
from typing import Any

from docket import CurrentDocket, CurrentExecution, Docket, Execution
from docket.dependencies import Dependency, current_execution
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider

import taskctx

LOCALE: ContextVar[str | None] = ContextVar("locale", default=None)

taskctx.carry(LOCALE, type=str | None)  # type: ignore[arg-type]
trace.set_tracer_provider(TracerProvider())


async def report(docket: Docket = CurrentDocket(), execution: Execution = CurrentExecution()) -> None:
    """Tell what this task sees of its caller."""
    await tell(docket, execution)


async def hang(docket: Docket = CurrentDocket(), execution: Execution = CurrentExecution()) -> None:
    """Tell what this task sees, and never end unless it is redelivered."""
    await tell(docket, execution)
    if not execution.redelivered:
        await asyncio.Event().wait()


async def parent(docket: Docket = CurrentDocket()) -> None:
    """Submit a task from a task."""
    await taskctx.add(docket, report)()


async def tell(docket: Docket, execution: Execution) -> None:
    task, token = taskctx.get_task_context(), taskctx.get_access_token()
    links: list[trace.Link] = list(getattr(trace.get_current_span(), "links", ()))
    sight: dict[str, Any] = {
        "task_id": None if task is None else task.task_id,
        "scope": taskctx.get_task_scope(),
        "token": None if token is None else token.model_dump(),
        "headers": taskctx.get_http_headers(),
        "request_id": taskctx.get_request_id(),
        "session_id": taskctx.get_task_session_id(),
        "tenant": baggage.get_baggage("tenant"),
        "locale": LOCALE.get(),
        "traces": sorted({trace.format_trace_id(link.context.trace_id) for link in links}),
    }
    about = {"pid": os.getpid(), "redelivered": execution.redelivered, "generation": execution.generation}
    async with docket.redis() as redis:
        await redis.rpush(docket.key("reports"), json.dumps({"sight": sight, "about": about}))


class FreezeServer(Dependency[None]):
    """Stops the Redis server in its tracks before the task with the id ``frozen`` is restored."""

    async def __aenter__(self) -> None:
        if ":frozen:" in current_execution.get().key:
            os.kill(int(os.environ["SERVER_PID"]), signal.SIGSTOP)


collection = [report, hang, parent]
freezing_dependencies = {"freeze": FreezeServer(), **taskctx.worker_dependencies}
