"""What taskctx.fastmcp relies on in FastMCP 4, beyond its public API; each test says what breaks when that moves."""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportGeneralTypeIssues=false
from __future__ import annotations

import inspect
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager

import pytest

pytest.importorskip("fastmcp_tasks", reason="FastMCP 4 is not installed")

from fastmcp.server import dependencies as core
from fastmcp_tasks import context, creation, extension, handlers, lifespan
from fastmcp_tasks.context import TaskContextSnapshot
from fastmcp_tasks.encryption import (
    _FERNET_PREFIX,
    EncryptedCodec,
    PlaintextCodec,
    SnapshotDecryptionError,
    snapshot_codec,
)
from fastmcp_tasks.keys import build_task_key, leg_execution_key, parse_task_key, task_redis_prefix
from mcp.server.auth.middleware.auth_context import auth_context_var

from taskctx._snapshot.codec import FERNET, SEALED_AS_TEXT
from taskctx._snapshot.keys import parse_task_key as parse_ours
from taskctx.fastmcp import _fastmcp4
from taskctx.fastmcp._restoration import ToolRestoration
from taskctx.fastmcp._upstream import Line


def test_create_task_calls_capture_and_save_on_the_class() -> None:
    """Tasks are created in another way: capture and save are no longer patched where they are called."""
    source = inspect.getsource(creation.create_task)
    assert "TaskContextSnapshot.capture(" in source
    assert "await snapshot.save(docket, task_scope, task_id, ttl_seconds)" in source
    assert "register_task_server(task_id, " in source
    assert creation.TaskContextSnapshot is TaskContextSnapshot


def test_the_lifespan_looks_the_dependency_up_when_it_starts() -> None:
    """The restore is bound elsewhere or earlier: a worker would run FastMCP's own."""
    source = inspect.getsource(lifespan.docket_lifespan)
    assert "from fastmcp_tasks.context import restore_task_snapshot" in source
    assert "dependencies=[Depends(restore_task_snapshot)]" in source
    assert "from fastmcp_tasks.lifespan import docket_lifespan" in inspect.getsource(extension.TasksExtension.lifespan)


def test_docket_enters_what_the_dependency_returns_and_it_can_be_awaited() -> None:
    """Docket would await our restoration instead of entering it: the body is not watched, nothing is taken back."""
    assert issubclass(ToolRestoration, AbstractAsyncContextManager)
    assert issubclass(ToolRestoration, Awaitable)


@pytest.mark.parametrize("scope", [None, "client|sub", "a:b#c%"])
def test_keys(scope: str | None) -> None:
    """FastMCP's keys have another form: tasks are told apart, and snapshots found, by it."""
    key = build_task_key(scope, "task-1", "tool", "tool:see@1")
    assert parse_task_key(leg_execution_key(key, 2)) == parse_task_key(key)
    assert parse_ours(key) == (scope, "task-1", "tool", "tool:see@1")
    assert task_redis_prefix(scope).startswith("fastmcp:task:")


def test_what_the_keyring_sealed_is_refused_by_a_fastmcp_without_key() -> None:
    """FastMCP no longer takes our sealed values for sealed ones: a worker that is not instrumented runs tools anonymous."""
    assert _FERNET_PREFIX.encode() == FERNET
    assert SEALED_AS_TEXT.startswith(FERNET)
    for codec in (PlaintextCodec(), EncryptedCodec("a key of at least 32 characters, say")):
        with pytest.raises(SnapshotDecryptionError):
            codec.decode(SEALED_AS_TEXT + b"QUJD")


def test_fernet_tokens_do_not_begin_like_ours() -> None:
    """FastMCP's sealed values begin in another way."""
    stored = EncryptedCodec("a key of at least 32 characters, say").encode("{}").encode()
    assert stored.startswith(FERNET)
    assert not stored.startswith(SEALED_AS_TEXT)


def test_without_a_key_nothing_is_protected() -> None:
    """The codec says otherwise whether tasks fail."""
    assert snapshot_codec().protected is False
    assert EncryptedCodec.protected is True


def test_an_empty_snapshot_makes_the_caller_anonymous() -> None:
    """FastMCP leaves something of an earlier caller in place: ours is not taken back either."""
    headers = core._background_task_headers.set({"a": "b"})
    session = core._background_task_session_id.set("session")
    try:
        context._apply_snapshot_to_context(TaskContextSnapshot())
        assert core.get_access_token() is None
        assert auth_context_var.get() is None
        assert core.get_http_headers() == {}
        assert core._background_task_session_id.get() is None
    finally:
        core._background_task_headers.reset(headers)
        core._background_task_session_id.reset(session)


def test_polling_renews_the_snapshot_by_its_key() -> None:
    """A polled task's snapshot is renewed in another way: age and TTL headroom may be wrong."""
    assert "await refresh_snapshot_ttl(docket, task_scope, task_id, refresh_ttl)" in inspect.getsource(
        handlers._lookup_task
    )


def test_the_line_is_as_the_rest_expects_it() -> None:
    """Looked at by pyright: a name of FastMCP's has another type."""
    line: Line = _fastmcp4
    assert line.context is context
