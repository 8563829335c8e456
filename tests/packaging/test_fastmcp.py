"""The wheel beside FastMCP, in the versions that pip chooses by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctx.cli.processes import free_port
from tests.docs.pages import blocks, printed
from tests.helpers import PATIENCE, wait_until
from tests.packaging.conftest import Distributions
from tests.packaging.environment import ROOT, Environment
from tests.packaging.interpreters import VERSIONS, find
from tests.processes.support import Process, Starter
from tests.secrets import secret

pytestmark = pytest.mark.packaging

PAGE = "quickstart/fastmcp.md"

ASKS = """
import asyncio, sys
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

async def main():
    transport = StreamableHttpTransport(sys.argv[1], auth="token-of-ada", headers={"X-Tenant": "acme"})
    async with Client(transport) as client:
        print((await client.call_tool("order", {"number": 42})).data)

asyncio.run(main())
"""


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    """Of the newest Python that is here."""
    python = next(path for version in reversed(VERSIONS) if (path := find(version)))
    environment = Environment.made(python, tmp_path / "environment")
    for block in blocks(PAGE):
        if block.file:
            (environment.elsewhere / block.file).write_text(block.text)
    return environment


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    with Starter(tmp_path) as starter:
        yield starter


def running(start: Starter, environment: Environment, *command: str, **settings: str) -> Process:
    """A Python program of the environment's, with nothing of the checkout's."""
    program = [str(environment.program("python")), *command]
    return start(program, cwd=environment.elsewhere, **{"PYTHONPATH": ""} | settings)


async def serving(start: Starter, environment: Environment, program: str, **settings: str) -> tuple[Process, str]:
    """A server of the environment's, once it listens, and its address."""
    port = free_port()
    server = running(start, environment, program, PORT=str(port), **settings)
    await wait_until(lambda: "Uvicorn running" in server.output or server.ended, timeout=PATIENCE)
    return server, f"http://127.0.0.1:{port}/mcp"


async def test_fastmcp_and_taskctx(empty: Environment, distributions: Distributions, start: Starter) -> None:
    """``pip install fastmcp taskctx``: a tool submits a plain task as its caller, and FastMCP's own tasks are there as
    soon as what taskctx.fastmcp asks for is installed.
    """
    empty.install("fastmcp", str(distributions.wheel), constrained=False)
    assert empty.run("python", "-m", "pip", "check").returncode == 0
    server, url = await serving(start, empty, "orders.py")
    asked = empty.run("python", "-c", ASKS, url)
    assert asked.stdout.strip() == "ordered", asked.stderr
    await wait_until(lambda: printed(PAGE)[1] in server.output, timeout=PATIENCE)

    imported = empty.run("python", "-c", "import taskctx.fastmcp")
    if imported.returncode:
        assert "UnsupportedVersion: taskctx needs the tasks of FastMCP 3.4 or later" in imported.stderr
        assert ": pip install 'taskctx[fastmcp]'; " in imported.stderr
        empty.install(f"{distributions.wheel}[fastmcp]", constrained=False)
    assert empty.run("python", "-m", "pip", "check").returncode == 0
    assert empty.run("python", "-c", "import taskctx.fastmcp").returncode == 0


async def test_taskctx_with_fastmcp(empty: Environment, distributions: Distributions, start: Starter) -> None:
    """``pip install taskctx[demo,fastmcp]``: the demo, the quickstart and the example run."""
    empty.install(f"{distributions.wheel}[demo,fastmcp]", constrained=False)
    assert empty.run("python", "-m", "pip", "check").returncode == 0

    shown = empty.run("taskctx", "demo", "--fastmcp", "--requests", "20", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["contexts_intact"] == "20/20"

    memory = {"FASTMCP_DOCKET_URL": "memory://", "REPORTS_SIGNING_KEY": secret("signing-key-of-at-least-32-characters")}
    _, url = await serving(start, empty, "reports.py", **memory)
    asking = running(start, empty, "ask.py", PORT=url.split(":")[2].split("/")[0])
    await wait_until(lambda: asking.ended, timeout=PATIENCE)
    assert asking.output.strip().endswith(printed(PAGE)[0])

    for name in ("server.py", "client.py"):
        shutil.copy(ROOT / "examples/fastmcp_server" / name, empty.elsewhere)
    server, url = await serving(start, empty, "server.py", **memory)
    client = running(start, empty, "client.py", "ada", REPORTS_URL=url, **memory)
    await wait_until(lambda: client.ended, timeout=PATIENCE)
    answers = dict(line.split(": ", 1) for line in client.output.splitlines())
    assert list(answers) == ["report", "compare", "archive_find"], client.output + server.output
    assert {json.loads(answer)["for"] for answer in answers.values()} == {"reports-app|ada"}
