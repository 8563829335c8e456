"""What taskctx.fastmcp relies on in FastMCP 3.4, beyond its public API; each test says what breaks when that moves."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("fastmcp.server.tasks.context", reason="FastMCP 3 is not installed")

import fastmcp
from docket import Docket
from fastmcp import FastMCP
from fastmcp.server import dependencies
from fastmcp.server.mixins import lifespan
from fastmcp.server.tasks import context, handlers
from fastmcp.server.tasks.context import TaskContextSnapshot
from fastmcp.server.tasks.keys import build_task_key, parse_task_key, task_redis_prefix
from mcp.server.auth.middleware.auth_context import auth_context_var

from taskctx._snapshot.codec import MAGIC, as_json
from taskctx._snapshot.keys import build_task_key as build_ours
from taskctx._snapshot.keys import parse_task_key as parse_ours
from taskctx.fastmcp._instrument import PATCHES
from taskctx.fastmcp._upstream import line

FIELDS = ("access_token_json", "http_headers", "origin_request_id", "session_id")


def digest(function: Any) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (TaskContextSnapshot.save, "403ea4cc163c478a"),
        (context.restore_task_snapshot, "45c57fda1f6447ab"),
        (dependencies.get_access_token, "b577986590418dce"),
        (dependencies.get_http_request, "d0fc6587bb1a9d4f"),
    ],
)
def test_the_steps_that_ours_stand_for_are_as_they_were(function: Any, known: str) -> None:
    """FastMCP changed a step of saving, restoring or asking: compare it with _fastmcp3.py, and follow."""
    assert digest(function) == known


def test_every_patched_name_is_there() -> None:
    """FastMCP lacks a name that is patched: instrument() refuses."""
    for patch in PATCHES:
        assert patch.name in vars(patch.owner), patch


def test_a_snapshot_is_a_json_object_whose_other_members_are_ignored() -> None:
    """FastMCP refuses or drops unknown members: our part can no longer ride in its snapshot."""
    snapshot = TaskContextSnapshot(*FIELDS[:1], http_headers={"a": "b"})
    stored = json.loads(snapshot.to_json())
    assert tuple(stored) == FIELDS
    assert TaskContextSnapshot.from_json(json.dumps(stored | {"taskctx": {"any": ["thing"]}})) == snapshot


def test_a_submission_calls_capture_and_save_on_the_class() -> None:
    """Tasks are created in another way: capture and save are no longer patched where they are called."""
    source = inspect.getsource(handlers.submit_to_docket)
    assert "TaskContextSnapshot.capture()" in source
    assert "await snapshot.save(docket, task_scope, server_task_id, ttl_seconds)" in source
    assert handlers.TaskContextSnapshot is TaskContextSnapshot


def test_the_lifespan_looks_the_dependency_up_when_it_starts() -> None:
    """The restore is bound elsewhere or earlier: a worker would run FastMCP's own."""
    source = inspect.getsource(lifespan)
    assert "            from fastmcp.server.tasks.context import restore_task_snapshot" in source
    assert "dependencies=[Depends(restore_task_snapshot)]" in source
    assert "self._docket_lifespan()" in source


@pytest.mark.parametrize("scope", [None, "client|sub", "a:b#c%"])
@pytest.mark.parametrize("kind", ["tool", "resource", "template", "prompt"])
def test_keys(scope: str | None, kind: str) -> None:
    """FastMCP's keys have another form: tasks are told apart, and snapshots found, by it."""
    key = build_task_key(scope, "task-1", kind, f"{kind}:see@1")
    assert parse_ours(key) == (scope, "task-1", kind, f"{kind}:see@1")
    assert parse_task_key(build_ours(scope, "task-1", "task", "see"))["task_type"] == "task"
    assert task_redis_prefix(scope).startswith("fastmcp:task:")


def test_what_the_keyring_sealed_can_be_read_and_not_be_asked() -> None:
    """A worker that is not instrumented runs tasks for an anonymous caller that were sealed: only docs/security.md can help."""
    read = TaskContextSnapshot.from_json(as_json(MAGIC + b"sealed"))
    assert read.http_headers == read.session_id == ["sealed by taskctx"]
    with pytest.raises(ValueError, match="Invalid JSON"):
        dependencies.AccessToken.model_validate_json(read.access_token_json)
    with pytest.raises(TypeError):
        context.get_task_session(read.session_id)


def test_a_task_without_snapshot_is_anonymous() -> None:
    """FastMCP leaves something of an earlier caller in place: ours is not taken back either."""
    line.clear()
    assert dependencies.get_access_token() is None
    assert auth_context_var.get() is None
    assert dependencies.get_http_headers() == {}


def test_a_remembered_snapshot_is_recalled_by_its_task() -> None:
    """All of FastMCP's getters in tasks rest on it."""
    snapshot = TaskContextSnapshot(session_id="session")
    context._remember_snapshot("task-1", snapshot)
    assert context._recall_snapshot("task-1") is snapshot
    assert context._recall_snapshot("task-2") is None
    line.clear()
    assert context._recall_snapshot("task-1") is None


async def test_a_servers_docket_is_found() -> None:
    """The docket is kept elsewhere: captures have no docket's name, and the series do not start at 0."""
    mcp = FastMCP("upstream")
    fastmcp.settings.docket.url, fastmcp.settings.docket.name = f"memory://{uuid4()}", "upstream"

    async def tool() -> None:
        """Nothing."""

    mcp.tool(tool, task=True)
    assert mcp._docket is None
    async with mcp._lifespan_manager():
        assert isinstance(mcp._docket, Docket)
        assert "tool:tool@" in mcp._docket.tasks


def test_outside_of_a_request_there_is_none() -> None:
    """The ambient caller would be asked of a request that there is not."""
    assert line.current_message() is None
    assert line.current_request() is None
