"""As ``tests/contracts/test_frames.py``, in FastMCP's servers and workers.  Of our frames: FastMCP's own are its own."""
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from docket import Docket
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._caller.carried import stop_carrying
from tests.conftest import BACKEND, running_valkey
from tests.fastmcp.conftest import Service
from tests.fastmcp.installed import CallError, call_tool_task
from tests.fastmcp.installed import theirs as context
from tests.fastmcp.test_anonymous import servers
from tests.fastmcp.test_failures import FAULTS, fastmcp_key, run_with
from tests.frames import Reporter, of_libraries, shown
from tests.helpers import handling
from tests.secrets import secret

__all__ = ["fastmcp_key", "servers"]


@pytest.fixture(autouse=True)
def reporter() -> Iterator[Reporter]:
    """Whatever is logged in a test is reported, and shows nothing."""
    reporter = Reporter()
    with handling(reporter), handling(reporter, "fastmcp"):
        yield reporter
    assert reporter.shown == []


class Unwritable:
    """A carried variable whose value has no JSON form."""

    name = "unwritable"
    is_set = True

    def get(self) -> object:
        return self if self.is_set else None

    def set(self, value: Any) -> None:
        self.is_set = value is not None

    def reset(self, token: None) -> None: ...

    def __repr__(self) -> str:
        return secret("payload")


def theirs() -> context.TaskContextSnapshot:
    return context.TaskContextSnapshot(
        access_token_json=secret("token"),
        http_headers={"cookie": secret("cookie")},
        session_id=secret("session"),
    )


async def test_a_capture_that_fails(service: Service, reporter: Reporter) -> None:
    """CaptureError passes our capture in a request of FastMCP's."""
    variable = Unwritable()
    variable.is_set = False
    taskctx.carry(variable)
    variable.is_set = True
    try:
        with pytest.raises(CallError):
            await service.submit()
    finally:
        stop_carrying(variable.name)
    assert "CaptureError" in reporter.errors


async def test_a_caller_that_is_missing(servers: Any, registry: CollectorRegistry, reporter: Reporter) -> None:
    """CaptureError ``anonymous``, in a request that has a cookie and no token."""
    taskctx.configure(registry=registry, on_anonymous="refuse")
    service = await servers(meant=False)
    async with service.client(token=None, headers={"cookie": secret("cookie")}) as client:
        with pytest.raises(CallError):
            await call_tool_task(client, "submit_another")
    assert "CaptureError" in reporter.errors


@pytest.mark.skipif(BACKEND != "valkey", reason="takes a server of its own away")
async def test_a_save_on_a_server_that_is_gone() -> None:
    """SaveError, with FastMCP's snapshot at hand."""
    with running_valkey() as server:
        async with Docket("gone", server.connection_url) as docket:
            server.terminate()
            with pytest.raises(taskctx.SaveError) as caught:
                await theirs().save(docket, "scope", "task", 60)
    assert shown(caught.value, of_libraries) == []


@pytest.mark.parametrize(("value", "reason"), FAULTS)
@pytest.mark.usefixtures("fastmcp_key")
async def test_a_context_that_is_lost(
    service: Service, registry: CollectorRegistry, reporter: Reporter, value: bytes | None, reason: str
) -> None:
    """RestoreError, for each reason."""
    assert "Failed to resolve dependencies" in await run_with(service, value)
    assert reason
    assert "RestoreError" in reporter.errors


async def test_a_token_that_cannot_be_read_is_not_quoted(service: Service, reporter: Reporter) -> None:
    """FastMCP itself logs pydantic's error, which has it; that no log line does is looked at after every test."""
    broken = json.dumps({"token": [secret("token")], "client_id": "mcp-app", "scopes": []})
    seen = await run_with(service, json.dumps({"access_token_json": broken}).encode())
    assert seen["token"] is None
    assert any("malformed" in record.getMessage() for record in reporter.records)
