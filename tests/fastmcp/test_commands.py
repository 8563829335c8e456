"""``taskctx inspect`` and ``taskctx doctor`` on the tasks of a FastMCP server: neither needs FastMCP to tell."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server

import taskctx
from taskctx.cli.processes import free_port
from taskctx.fastmcp import uninstrument
from tests.cli.operations import command, diagnose, key
from tests.conftest import BACKEND
from tests.fastmcp.conftest import Service
from tests.fastmcp.installed import EncryptedCodec, ToolTask, has_legs

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// cannot be looked into from outside")


async def inspect(service: Service, name: str) -> dict[str, Any]:
    ended = await command("inspect", name, "--url", service.docket.url, "--json")
    assert ended.code == 1
    return ended.json


async def for_people(service: Service, task: ToolTask) -> str:
    return (await command("inspect", task.task_id, "--url", service.docket.url)).out


@pytest.fixture
def sealing(registry: CollectorRegistry) -> None:
    taskctx.configure(encryption_keys=key("2026-11"), registry=registry)


@pytest.mark.usefixtures("sealing")
async def test_what_the_keyring_sealed(service: Service) -> None:
    """``inspect`` shows key id, scope and state of the task, for each name of the task."""
    task = await service.submit()
    task_key = (await inspect(service, task.task_id))["runs"][0]["task_key"]
    for name in (task.task_id, task_key, service.snapshot_key(task), service.docket.runs_key(task_key)):
        shown = await inspect(service, name)
        assert (shown["task_id"], shown["task_scope"]) == (task.task_id, "mcp-app|ada")
        assert (shown["docket"], shown["redis_key"]) == (service.docket.name, service.snapshot_key(task))
        assert [run["state"] for run in shown["runs"]] == ["queued"]
        assert (shown["snapshot"]["sealer"], shown["snapshot"]["sealed_by"]) == ("taskctx", "2026-11")
        assert shown["meaning"] == "The snapshot is FastMCP's own, which is not looked into here."
    out = await for_people(service, task)
    assert out.startswith(f"task {task.task_id}\n")
    assert "sealed by  2026-11" in out
    assert "plain" not in out


async def test_what_fastmcps_own_key_sealed(service: Service) -> None:
    """It has no id, and is not plain."""
    task = await service.submit()
    await service.store(task, EncryptedCodec("a key of at least 32 characters, say").encode("{}").encode())
    snapshot = (await inspect(service, task.task_id))["snapshot"]
    assert (snapshot["sealer"], snapshot["sealed_by"]) == ("fastmcp", None)
    assert "sealed by  FastMCP's own key (FASTMCP_TASKS_ENCRYPTION_KEY)" in await for_people(service, task)


async def test_what_is_plain(service: Service) -> None:
    """And is said to be, whether taskctx or FastMCP alone wrote it."""
    instrumented = await service.submit()
    uninstrument()
    for task in (instrumented, await service.submit()):
        assert (await inspect(service, task.task_id))["snapshot"]["sealer"] == "nobody"
        assert "sealed by  nothing: it is plain" in await for_people(service, task)


@has_legs
async def test_a_second_leg_is_of_the_same_task(service: Service) -> None:
    """A tool that asked its caller something has two records and one snapshot."""
    task = await service.submit("ask")
    await service.work()
    await service.answer(task)
    first, second = (await inspect(service, task.task_id))["runs"]
    assert (first["state"], second["state"]) == ("completed", "queued")
    assert second["task_key"] == f"{first['task_key']}#leg2"


@pytest.mark.usefixtures("sealing")
async def test_the_doctor_tells_them_apart(service: Service) -> None:
    """How many of them are sealed, by which key, and how many are plain."""
    await service.submit()
    theirs = await service.submit()
    await service.store(theirs, EncryptedCodec("a key of at least 32 characters, say").encode("{}").encode())
    plain = await service.submit()
    await service.store(plain, b"{}")
    (what,) = (await diagnose(service.docket, "--docket", service.docket.name)).found("snapshots", "ok")
    assert what == (
        "0 snapshots, 0 B; and 3 of FastMCP's, 1 sealed by 2026-11, 1 sealed by FastMCP's own key, 1 plain, "
        "which are not looked into"
    )


async def test_an_idle_worker_inside_a_server(service: Service, registry: CollectorRegistry) -> None:
    """Its server's metrics do not show it: the doctor cannot tell, and says what to do in FastMCP's terms otherwise."""
    await service.submit()
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry=registry)
    looked_at = await diagnose(service.docket, "--docket", service.docket.name, "--metrics", f"127.0.0.1:{port}")
    server.shutdown()
    server.server_close()
    thread.join()
    (untold,) = looked_at.found("metrics", "skipped")
    assert untold.startswith("whether metrics of 1 worker are served cannot be told: ")
    assert f" may be idle in 127.0.0.1:{port}, where a FastMCP server's own worker" in untold
    assert looked_at.found("metrics", "warning") == []

    elsewhere = await diagnose(service.docket, "--docket", service.docket.name, "--metrics", f"127.0.0.1:{free_port()}")
    (advice,) = [
        each["what_to_do"]
        for each in elsewhere.findings
        if each["severity"] == "warning" and each["check"] == "metrics"
    ]
    assert advice.startswith("Have the process serve prometheus_client's registry")
