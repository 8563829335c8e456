"""Operations on many keys: find them, read their TTLs, and read Docket's records of their tasks."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio.cluster import RedisCluster

from ..errors import Reason
from .answers import FAILURES, is_refusal
from .batch import Kind, Operation, Pipeline, Script
from .commands import TaskState, expire, task_state
from .connection import Connection
from .deadline import BackendError

STEP = 200
"""How many keys one round trip reads: it blocks the server for some 50 us."""


class ScanRefused(BackendError):
    """The server does not allow this user to search for keys; another try does not help."""


class Claim(NamedTuple):
    """The state of a task in Docket's record, and when a worker claimed the task last."""

    state: TaskState
    started_at: bytes | None


async def scan(connection: Connection, prefix: str, suffix: str = "") -> AsyncGenerator[list[str]]:
    """The keys with this prefix and suffix, in lists of at most ``STEP``.  A key may appear twice.

    Raises:
        ScanRefused: the user may not ``SCAN``.
        BackendError: the server could not be reached.
    """
    keys: list[str] = []
    try:
        async with connection.redis() as redis:
            client: Any = redis
            # in a cluster, all keys of a docket are on one node
            node = {"target_nodes": client.get_node_from_key(prefix)} if isinstance(redis, RedisCluster) else {}
            async for key in client.scan_iter(match=f"{escaped(prefix)}*{suffix}", count=STEP, **node):
                keys.append(key.decode(errors="replace"))
                if len(keys) == STEP:
                    yield keys
                    keys = []
    except FAILURES as failure:
        raise (ScanRefused if is_refusal(failure) else BackendError)(Reason.BACKEND_ERROR, failure) from None
    yield keys


async def ttls_of(connection: Connection, keys: Sequence[str]) -> list[int]:
    """The TTL of each value in seconds (negative: no value, or no TTL), in one round trip."""
    return [ttl for (ttl,) in await connection.run_all([Operation(_TTL_OF, (key,)) for key in keys])]


async def claims_of(connection: Connection, record_keys: Sequence[str]) -> list[Claim]:
    """The :class:`Claim` of each task, in one round trip."""
    replies = await connection.run_all([Operation(_CLAIM_OF, (key,)) for key in record_keys])
    return [Claim(task_state(state), started_at) for state, started_at in replies]


async def expire_if_due(connection: Connection, ttl: int, due: Mapping[str, range]) -> int:
    """Set the TTL of values; returns how many were set.

    ``due`` has the expected TTLs by key.  A value with another TTL was written or renewed, and is left alone.
    """
    if connection.in_process:
        # burner-redis scripts have no TTL command; no other code runs between these two commands
        left = dict(zip(due, await ttls_of(connection, list(due)), strict=True))
        meant = [key for key in due if left[key] in due[key]]
        for key in meant:
            await expire(connection, key, ttl)
        return len(meant)
    operations = [
        Operation(_EXPIRE_IF_DUE, (key,), (str(ttl), str(seconds[0]), str(seconds[-1]))) for key, seconds in due.items()
    ]
    return sum(done for (done,) in await connection.run_all(operations))


def escaped(text: str) -> str:
    """A pattern of ``SCAN`` that matches only this text."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def _ttl(pipeline: Pipeline, do: Operation) -> Any:
    return pipeline.ttl(do.keys[0])


def _claim(pipeline: Pipeline, do: Operation) -> Any:
    pipeline.hget(do.keys[0], "state")
    return pipeline.hget(do.keys[0], "started_at")


def _expire_if_due(pipeline: Pipeline, do: Operation) -> Any:
    return pipeline.execute_command("EVALSHA", _EXPIRE_IF_DUE_SCRIPT.sha, 1, *do.keys, *do.arguments)


_TTL_SCRIPT = Script("""
local answers = {}
for place, key in ipairs(KEYS) do
    answers[place] = {redis.pcall('TTL', key)}
end
return answers
""")

_CLAIM_SCRIPT = Script("""
local answers = {}
for place, key in ipairs(KEYS) do
    answers[place] = {redis.pcall('HGET', key, 'state'), redis.pcall('HGET', key, 'started_at')}
end
return answers
""")

_EXPIRE_IF_DUE_SCRIPT = Script("""
local left = redis.call('TTL', KEYS[1])
if left < tonumber(ARGV[2]) or left > tonumber(ARGV[3]) then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[1])
""")

_TTL_OF = Kind(_ttl, script=_TTL_SCRIPT)
_CLAIM_OF = Kind(_claim, replies=2, script=_CLAIM_SCRIPT)
_EXPIRE_IF_DUE = Kind(_expire_if_due, alone=_EXPIRE_IF_DUE_SCRIPT)
