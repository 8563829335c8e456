"""Which tasks may travel together; what they have of each other's company is in tests/contracts/test_traveling_together.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from docket import Docket
from docket.execution import Execution, TaskCall
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from taskctx._submit.scheduling import Scheduler

UNSAMPLED = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0)))


@pytest.mark.parametrize(
    ("url", "together"),
    [
        ("redis://host/0", True),
        ("redis+sentinel://host/0", True),
        ("redis+cluster://host", False),
        ("rediss+cluster://host", False),
    ],
)
async def test_in_a_cluster_tasks_go_alone(url: str, together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """``add_many`` sends its script to every node there, and so fails while one is away."""
    asked = asyncio.Event()
    alone: list[str] = []
    batches: list[int] = []
    docket = Docket(name="never opened", url=url)

    def add(function: str, when: object, key: str) -> Callable[..., Awaitable[Any]]:
        async def scheduler() -> None:
            alone.append(key)
            await asked.wait()

        return scheduler

    async def add_many(calls: list[TaskCall], **_options: Any) -> list[Execution]:
        batches.append(len(calls))
        raise ConnectionError

    monkeypatch.setattr(docket, "add", add)
    monkeypatch.setattr(docket, "add_many", add_many)
    scheduler = Scheduler(docket)
    token = context.attach(trace.set_span_in_context(UNSAMPLED))
    try:
        adds = [asyncio.create_task(scheduler.add(_call(f"{number}"))) for number in range(3)]
    finally:
        context.detach(token)
    await asyncio.sleep(0)
    asked.set()
    await asyncio.gather(*adds, return_exceptions=True)
    assert (alone, batches) == ((["0"], [2]) if together else (["0", "1", "2"], []))


def _call(key: str) -> TaskCall:
    async def task() -> None: ...

    return TaskCall(task, (), {}, key, None, "task")  # type: ignore[arg-type]
