"""What goes wrong, on purpose."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from docket import Docket
from docket.execution import Execution

import taskctx
from tests import secrets
from tests.helpers import redis_key

AHEAD = 0.7
"""Seconds that a task is scheduled ahead whose snapshot is about to be tampered with."""


async def lose(docket: Docket, execution: Execution) -> None:
    """The snapshot of a task that has not run is gone, as by eviction."""
    async with docket.redis() as redis:
        assert await redis.delete(redis_key(docket, execution.key)) == 1


async def damage(docket: Docket, execution: Execution) -> None:
    """The snapshot of a task that has not run is overwritten with what is none."""
    async with docket.redis() as redis:
        await redis.set(redis_key(docket, execution.key), b"{]", ex=60)


def expiring() -> tuple[taskctx.AccessToken, datetime]:
    """A token that is good now, and a time to run a task at which it is not: expiry counts in whole seconds."""
    return secrets.token(expires_at=int(time.time()) + 1), datetime.now(UTC) + timedelta(seconds=2.2)


class Session:
    """A client's live session."""


def dead_session(session_id: str) -> None:
    """A client came, and left before its task ran."""
    session = Session()
    taskctx.register_task_session(session_id, session)
    del session
