"""What taskctx.fastmcp relies on in either line of FastMCP, beyond its public API.

Each test says what breaks when that moves.  What is of one line alone is in test_fastmcp3.py and test_fastmcp4.py.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import hashlib
import inspect
import json
from pkgutil import resolve_name
from uuid import uuid4

import pytest
from docket import Docket
from fastmcp import FastMCP

from taskctx._snapshot.keys import build_task_key
from taskctx.fastmcp._upstream import Snapshot, docket_of, line
from tests.fastmcp.installed import LINE, add_tasks, theirs

FIELDS = ("access_token_json", "http_headers", "origin_request_id", "session_id")
TOOL = () if LINE == 3 else ("owning_tool_name", "owning_tool_version")

STEPS = {
    3: {
        "fastmcp.server.tasks.context:TaskContextSnapshot.save": "403ea4cc163c478a",
        "fastmcp.server.tasks.context:restore_task_snapshot": "45c57fda1f6447ab",
        "fastmcp.server.dependencies:get_access_token": "b577986590418dce",
        "fastmcp.server.dependencies:get_http_request": "d0fc6587bb1a9d4f",
    },
    4: {
        "fastmcp_tasks.context:TaskContextSnapshot.save": "22396f571dcf8cff",
        "fastmcp_tasks.context:restore_task_snapshot": "7f2948a0947cc10a",
        "fastmcp_tasks.context:_apply_snapshot_to_context": "b32c6650a3148e69",
        "fastmcp_tasks.context:refresh_snapshot_ttl": "905fe92615c9ae1e",
    },
}
"""By line, functions and a digest of their text."""


@pytest.mark.parametrize(("name", "known"), STEPS[LINE].items())
def test_the_steps_that_ours_stand_for_are_as_they_were(name: str, known: str) -> None:
    """FastMCP changed a step of saving, restoring or asking: compare it with _submission.py, _restoration.py and the
    module of the line, and follow.
    """
    text = inspect.getsource(resolve_name(name))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == known


def test_a_snapshot_is_a_json_object_whose_other_members_are_ignored() -> None:
    """FastMCP refuses or drops unknown members: our part can no longer ride in its snapshot."""
    snapshot = theirs.TaskContextSnapshot("token", http_headers={"a": "b"})
    stored = json.loads(snapshot.to_json())
    assert tuple(stored) == FIELDS + TOOL
    assert Snapshot.from_json(json.dumps(stored | {"taskctx": {"any": ["thing"]}})) == snapshot


def test_a_remembered_snapshot_is_recalled_by_its_task() -> None:
    """FastMCP's getters in tasks, and mounted children in remote workers, rest on it."""
    snapshot = theirs.TaskContextSnapshot(session_id="session")
    theirs._remember_snapshot("task-1", snapshot)
    assert theirs._recall_snapshot("task-1") is snapshot
    assert theirs._recall_snapshot("task-2") is None


@pytest.mark.parametrize("key", ["", "report", "x:y"])
def test_keys_of_others_are_value_errors(key: str) -> None:
    """parse_task_key says otherwise that a key is not FastMCP's."""
    with pytest.raises(ValueError, match="Invalid task key"):
        line.parse_task_key(key)


@pytest.mark.parametrize("scope", [None, "client|sub", "a:b#c%"])
def test_plain_tasks_are_told_apart(scope: str | None) -> None:
    """FastMCP reads our keys otherwise: a plain task on its docket is taken for a tool."""
    assert line.parse_task_key(build_task_key(scope, "task-1", "task", "see"))["task_type"] == "task"


async def test_the_snapshots_redis_key(docket: Docket) -> None:
    """FastMCP stores snapshots elsewhere."""
    key = line.snapshot_redis_key(docket, "client|sub", "task-1")
    assert key == docket.key("fastmcp:task:auth:client%7Csub:task-1:snapshot")


async def test_a_servers_docket_is_found() -> None:
    """The docket is kept elsewhere: captures have no docket's name, and the series do not start at 0."""
    mcp: FastMCP = FastMCP("upstream")
    add_tasks(mcp, f"memory://{uuid4()}", "upstream", 1)

    async def tool() -> None:
        """Nothing."""

    mcp.tool(tool, task=True)
    assert docket_of(mcp) is None
    async with mcp._lifespan_manager():
        docket = docket_of(mcp)
        assert isinstance(docket, Docket)
        assert "tool:tool@" in docket.tasks


def test_outside_of_a_request_there_is_none() -> None:
    """The ambient caller would be asked of a request that there is not."""
    assert line.current_message() is None
    assert line.current_request() is None
