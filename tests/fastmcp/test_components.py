"""On FastMCP 3 resources, templates of them, and prompts are tasks too."""

# pyright: basic, reportCallIssue=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
from fastmcp import Client, FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.settings.keyring import generate_key
from tests.fastmcp.conftest import Service, serving
from tests.fastmcp.installed import add_tasks, only_3
from tests.fastmcp.server import ADA, TASK, TOKENS, look, mark

pytestmark = only_3


@pytest.fixture
async def service(backend_url: str) -> AsyncGenerator[Service]:
    name = f"test-{uuid4()}"
    server = FastMCP(name, auth=StaticTokenVerifier(TOKENS))
    add_tasks(server, backend_url, name, 0)

    @server.resource("seen://here", task=TASK)
    async def resource() -> str:
        return json.dumps(look())

    @server.resource("seen://{place}/again", task=TASK)
    async def template(place: str) -> str:
        return json.dumps(look() | {"place": place})

    @server.prompt(task=TASK)
    async def prompt(place: str) -> str:
        return json.dumps(look() | {"place": place})

    async with serving(server) as running:
        yield running


async def ask(client: Client[Any], kind: str) -> Any:
    match kind:
        case "resource":
            return await client.read_resource("seen://here", task=True)
        case "template":
            return await client.read_resource("seen://there/again", task=True)
        case _:
            return await client.get_prompt("prompt", {"place": "there"}, task=True)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("kind", ["resource", "template", "prompt"])
async def test_its_task_sees_who_asked(service: Service, kind: str, sealed: bool) -> None:
    """The same for both libraries' getters, with the snapshot sealed or not; and the restore is counted."""
    own = CollectorRegistry()
    taskctx.configure(registry=own, encryption_keys=f"now:{generate_key()}" if sealed else None)
    async with service.client() as client:
        task = await ask(client, kind)
        assert not task.returned_immediately
        await service.work()
        answer = await task.result()
    seen = json.loads(answer.messages[0].content.text if kind == "prompt" else answer[0].text)

    assert (seen["token"], seen["same_token"], seen["tenant"]) == (mark(ADA), True, "acme")
    assert (seen["scope"], seen["baggage"]) == ("mcp-app|ada", "acme")
    assert own.get_sample_value("taskctx_restores_total", {"docket_name": service.docket.name, "outcome": "ok"}) == 1
