"""What taskctx.fastmcp relies on in FastMCP 3.4, beyond its public API; each test says what breaks when that moves."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import inspect

import pytest

pytest.importorskip("fastmcp.server.tasks.context", reason="FastMCP 3 is not installed")

from fastmcp.server import dependencies
from fastmcp.server.mixins import lifespan
from fastmcp.server.tasks import context, handlers
from fastmcp.server.tasks.context import TaskContextSnapshot
from fastmcp.server.tasks.keys import build_task_key, task_redis_prefix
from mcp.server.auth.middleware.auth_context import auth_context_var

from taskctx._snapshot.codec import MAGIC, as_json
from taskctx._snapshot.keys import parse_task_key as parse_ours
from taskctx.fastmcp._upstream import line


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
    context._remember_snapshot("task-1", TaskContextSnapshot(session_id="session"))
    line.clear()
    assert context._recall_snapshot("task-1") is None
    assert dependencies.get_access_token() is None
    assert auth_context_var.get() is None
    assert dependencies.get_http_headers() == {}
