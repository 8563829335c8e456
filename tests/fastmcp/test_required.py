"""A tool's task never runs as its caller without a carried value that is required."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._caller.carried import stop_carrying
from taskctx.fastmcp import instrument, uninstrument
from tests.fastmcp.conftest import Service
from tests.fastmcp.installed import REFUSED, CallError
from tests.fastmcp.server import ADA, LOCALE, mark
from tests.fastmcp.test_failures import failures

TEAM: ContextVar[str | None] = ContextVar("team", default=None)


@pytest.fixture(autouse=True)
def carries_nothing_else() -> Iterator[None]:
    yield
    stop_carrying(LOCALE.name)
    stop_carrying(TEAM.name)


def carry(kind: Any = str, *, required: bool = True) -> None:
    taskctx.carry(LOCALE, type=kind, required=required)


async def test_a_required_value_rides_along(service: Service, registry: CollectorRegistry) -> None:
    """In our member of FastMCP's snapshot, which says that it is required."""
    carry()
    task = await service.submit()
    assert json.loads(await service.stored(task))["taskctx"]["required"] == [LOCALE.name]
    await service.work()

    seen = await service.result(task)
    assert (seen["token"], seen["locale"]) == (mark(ADA), "locale-acme")
    assert failures(registry, service) == {}


@pytest.mark.parametrize("mode", ["continue", "fail"])
@pytest.mark.parametrize("skew", ["not carried by the worker", "of another type", "not instrumented"])
async def test_a_required_value_that_is_lost_fails_the_restore(service: Service, mode: Any, skew: str) -> None:
    """The tool's task is anonymous for both libraries' getters, or does not run."""
    taskctx.configure(registry=(own := CollectorRegistry()), on_restore_failure=mode)
    carry()
    if skew == "not instrumented":
        uninstrument()
    task = await service.submit()
    if skew == "not instrumented":
        instrument()
    elif skew == "of another type":
        carry(int)
    else:
        stop_carrying(LOCALE.name)
    await service.work()
    seen = await service.result(task)

    assert failures(own, service) == {"carried_required": 1}
    if mode == "fail":
        assert "Failed to resolve dependencies" in seen
    else:
        assert (seen["token"], seen["their_token"], seen["session"], seen["their_session"]) == (None,) * 4
        assert seen["locale"] is None


async def test_a_tool_call_without_a_required_value_is_refused(service: Service, registry: CollectorRegistry) -> None:
    """The client gets an error, and no task is scheduled."""
    taskctx.carry(TEAM, type=str, required=True)
    with pytest.raises(CallError, match=REFUSED):
        await service.submit()

    assert (await service.docket.snapshot()).total_tasks == 0
    assert (
        registry.get_sample_value("taskctx_captures_total", {"docket_name": service.docket.name, "outcome": "failed"})
        == 1
    )


async def test_a_required_value_that_is_too_large_is_refused(service: Service) -> None:
    """Where our part would be left out of the snapshot, the task would lose the value."""
    taskctx.configure(registry=(own := CollectorRegistry()), max_snapshot_bytes=256)
    carry()
    with pytest.raises(CallError, match=REFUSED):
        await service.submit()

    assert (await service.docket.snapshot()).total_tasks == 0
    assert (
        own.get_sample_value("taskctx_save_failures_total", {"docket_name": service.docket.name, "reason": "too_large"})
        == 1
    )
