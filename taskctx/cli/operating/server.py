"""Read-only access to a Redis or Valkey server.

This module uses Docket's own connection, so every URL that works for Docket works here.  Docket sends only reads when
it opens the connection (tests/cli/test_doctor.py checks it).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from docket import Docket
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError, ResponseError

from taskctx._transport.answers import is_refusal
from taskctx._transport.causes import Cause, RefusedCommand, cause_of

from .._problem import Problem
from .._url import shown
from .options import DEFAULT_URL, URL_VARIABLE

T = TypeVar("T")

MEMORY = "memory://"
PATIENCE = 10.0
"""Seconds for the server to answer."""

BATCH = 500
SCAN_COUNT = 1000
_LOOKING = "taskctx"
"""The name of the docket that opens the connection.  No key is stored under it."""

RIGHTS = "~* +@read +info +time +config|get"
"""ACL rules of a user for these commands; they include the reads with which Docket opens its connection.  Without
``config|get``, persistence is not judged."""

RIGHTS_IN_A_CLUSTER = "+cluster|slots +command"
"""The other ACL rules that a cluster client needs."""

Ask = Callable[[Any], object]
"""Puts one read-only command into a pipeline."""


@dataclass(frozen=True, slots=True)
class Scan(Generic[T]):
    """The result of a scan; ``complete`` says whether all keys were scanned."""

    found: Sequence[T]
    complete: bool


class Server:
    """Reads from a server."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def docket(self, name: str) -> Docket:
        """A docket that is never opened: it only builds the names of keys."""
        return Docket(name=name, url=self._url)

    async def info(self) -> Mapping[str, Mapping[str, Any]]:
        """``INFO``, by node."""
        return {name: await _soon(self._client.info(**node)) for name, node in self._nodes()}

    async def config(self, name: str) -> str | None:
        """A configuration parameter of the server; None where the user may not read it."""
        try:
            return (await _soon(self._client.config_get(name))).get(name)
        except ResponseError:
            return None

    @property
    def database(self) -> int:
        """The number of the database in use."""
        pool = getattr(self._client, "connection_pool", None)
        return 0 if pool is None else pool.connection_kwargs.get("db") or 0

    async def clock_offset(self) -> float:
        """Seconds by which the server's clock is ahead of ours; of several nodes, the largest difference."""
        offsets: list[float] = []
        for _, node in self._nodes():
            before = time.time()
            seconds, microseconds = await _soon(self._client.time(**node))
            offsets.append(seconds + microseconds / 1e6 - (before + time.time()) / 2)
        return max(offsets, key=abs)

    async def scan(self, match: str, limit: int, read: Callable[[str], T | None]) -> Scan[T]:
        """The results of ``read`` for the keys that match a pattern, until there are about ``limit`` of them.

        Keys for which ``read`` returns None do not count.
        """
        keys: dict[str, T] = {}
        for _, node in self._nodes():
            cursor = 0
            while True:
                if len(keys) >= limit:
                    return Scan(list(keys.values()), complete=False)
                cursor, found = await _soon(self._client.scan(cursor, match=match, count=SCAN_COUNT, **node))
                if isinstance(cursor, dict):
                    cursor = next(iter(cast("dict[str, int]", cursor).values()))
                # a key may come twice; a key that is not text does not belong to taskctx or Docket
                for key in (key.decode(errors="replace") for key in found):
                    if (meaning := read(key)) is not None:
                        keys[key] = meaning
                if cursor == 0:
                    break
        return Scan(list(keys.values()), complete=True)

    async def ask(self, commands: Sequence[Ask]) -> list[Any]:
        """The answer to each command; an exception where the key does not support the command.

        Raises:
            ResponseError: the user may not send a command.
        """
        replies: list[Any] = []
        for start in range(0, len(commands), BATCH):
            pipeline = self._client.pipeline(transaction=False)
            for command in commands[start : start + BATCH]:
                command(pipeline)
            replies += await _soon(pipeline.execute(raise_on_error=False))
        for reply in replies:
            if isinstance(reply, RedisError) and is_refusal(reply):
                raise reply  # other errors (a key of another type, for example) concern one key only
        return replies

    async def dry_run_refuses(self, commands: Sequence[Sequence[str]]) -> list[bool] | None:
        """Whether the server would refuse each command to this user; None where the server has no ``ACL DRYRUN``."""
        try:
            user = await _soon(self._client.execute_command("ACL", "WHOAMI", **self._anywhere()))
            said = [
                await _soon(self._client.execute_command("ACL", "DRYRUN", user, *words, **self._anywhere()))
                for words in commands
            ]
        except (ResponseError, RedisClusterException):
            return None
        return [answer not in (b"OK", "OK") for answer in said]

    async def refuses(self, commands: Sequence[Sequence[str]]) -> list[bool]:
        """Whether the server refuses each command to this user, by sending the commands."""
        refused: list[bool] = []
        for words in commands:
            try:
                await _soon(self._client.execute_command(*words))
            except ResponseError as error:
                refused.append(is_refusal(error))
            else:
                refused.append(False)
        return refused

    def _anywhere(self) -> dict[str, Any]:
        """The argument that sends a command to one node, no matter which."""
        return next(node for _, node in self._nodes())

    def _nodes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each node that holds keys, with the argument that sends a command to the node."""
        if isinstance(self._client, RedisCluster):
            yield from ((node.name, {"target_nodes": node}) for node in self._client.get_primaries())
        else:
            yield shown(self._url), {}


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Server]:
    """Open a server for reading.

    Raises:
        Problem: the server does not answer, refuses the login, or stops answering.
    """
    if url.startswith(MEMORY):
        raise Problem(
            f"{MEMORY} is the memory of one process, and no other can look into it",
            "Give the --url of the server where dockets and workers meet.",
        )
    with _as_problems(url), _docket_quiet():
        stack = AsyncExitStack()
        try:
            yield await _open(url, stack)
        finally:
            # a docket that closes may wait for its strike monitor without end
            with suppress(TimeoutError):
                await _soon(stack.aclose())


async def _open(url: str, stack: AsyncExitStack) -> Server:
    try:
        docket = await _soon(stack.enter_async_context(Docket(name=_LOOKING, url=url)))
        client = await stack.enter_async_context(docket.redis())
        with suppress(NoPermissionError):  # the login works; a refused command is reported later
            await _soon(client.exists(_LOOKING))
    except (ValueError, TypeError):  # a TypeError for a parameter that redis-py does not know
        raise Problem(f"{_given_as(url)} is no Redis URL", f"One looks like {DEFAULT_URL}.") from None
    return Server(client, url)


def _given_as(url: str) -> str:
    """The option or variable that holds the URL, for messages."""
    return URL_VARIABLE if os.environ.get(URL_VARIABLE) == url else "--url"


@contextmanager
def _as_problems(url: str) -> Generator[None]:
    """Raise the client's errors as a Problem that shows no password."""
    where = shown(url)
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:  # TimeoutError is an OSError
        problem = _problem(error, where)
    else:
        return
    raise problem


def _problem(error: RedisError | RedisClusterException | OSError, where: str) -> Problem:
    cause = cause_of(error)
    if isinstance(cause, RefusedCommand) or cause is Cause.KEYS or (cause is None and isinstance(error, ResponseError)):
        return Problem(
            f"the server at {where} refuses what is asked of it ({cause.what if cause else type(error).__name__})",
            f"Use a user who may read, with the ACL rules {RIGHTS}, and in a cluster {RIGHTS_IN_A_CLUSTER}.",
        )
    if cause is not None:
        return Problem(f"{cause.what} ({where})", f"{cause.do}.")
    if isinstance(error, RedisClusterException):
        return Problem(
            f"no Redis or Valkey cluster can be used at {where}",
            "Check that it is up, that it can be reached from here, that --url (or DOCKET_URL) names it, and that the "
            f"user has the ACL rules {RIGHTS} {RIGHTS_IN_A_CLUSTER}.",
        )
    return Problem(
        f"no Redis or Valkey server answers at {where} ({type(error).__name__})",
        "Check that it is up, that it can be reached from here, and that --url (or DOCKET_URL) names it; and that "
        "rediss:// stands for a port that speaks TLS, and redis:// for one that does not.",
    )


@contextmanager
def _docket_quiet() -> Generator[None]:
    """Silence Docket's log: Docket logs a traceback for a failed connection, which ``_as_problems`` reports."""
    logger = logging.getLogger("docket")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _soon(answer: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await answer
