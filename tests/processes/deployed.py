"""An application in several versions, which carry a tenant in different ways: VERSION says which.  Run, it adds a task.

Never imported by the tests themselves.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from docket import CurrentDocket, Docket

import taskctx
from tests.secrets import secret


@dataclass(frozen=True)
class Tenant:
    id: str


@dataclass(frozen=True)
class RegionalTenant:
    id: str
    region: str


VERSIONS: dict[str, dict[str, Any] | None] = {
    "not carried": None,
    "carried": {"type": Tenant},
    "required": {"type": Tenant, "required": True},
    "one more field": {"type": RegionalTenant, "required": True},
}

TENANT: ContextVar[Any] = ContextVar("tenant", default=None)

if (options := VERSIONS[os.environ["VERSION"]]) is not None:
    taskctx.carry(TENANT, **options)


async def report(docket: Docket = CurrentDocket()) -> None:
    """Tell whether this task has its caller and its tenant."""
    sight = {"scope": taskctx.get_task_scope(), "tenant": TENANT.get() == Tenant(secret("acme"))}
    async with docket.redis() as redis:
        await redis.rpush(docket.key("reports"), json.dumps(sight))  # pyright: ignore[reportGeneralTypeIssues]


async def main(name: str, url: str) -> None:
    async with Docket(name=name, url=url) as docket:
        TENANT.set(Tenant(secret("acme")))
        token = taskctx.AccessToken(token=secret("token"), client_id="app", claims={"sub": "ada"})
        with taskctx.bind_caller(access_token=token):
            await taskctx.add(docket, report)()


collection = [report]

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
