"""A Redis or Valkey server, looked at and never written to.

Docket's own connection is used, so that every URL works here that works for it.  Opening it sends nothing but reads
(tests/cli/test_doctor.py watches).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
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
"""Seconds that the server has for each answer."""

BATCH = 500
SCAN_COUNT = 1000
_LOOKING = "taskctx"
"""The name of the docket whose connection is used.  Nothing is stored under it."""

RIGHTS = "~* +@read +info +time +config|get"
"""ACL rules of a user who may look at all that these commands look at, and that Docket's connection does when it opens.
Without ``config|get``, persistence is not judged."""

RIGHTS_IN_A_CLUSTER = "+cluster|slots +command"
"""What the client of a cluster needs besides."""

Ask = Callable[[Any], object]
"""Puts one reading command into a pipeline."""


@dataclass(frozen=True, slots=True)
class Scan(Generic[T]):
    """What was found of that which was looked for; ``complete`` when it is all there is."""

    found: Sequence[T]
    complete: bool


class Server:
    """What can be read of a server."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def docket(self, name: str) -> Docket:
        """A docket that is never opened: it knows its keys' names."""
        return Docket(name=name, url=self._url)

    async def info(self) -> Mapping[str, Mapping[str, Any]]:
        """``INFO``, by node."""
        return {name: await _soon(self._client.info(**node)) for name, node in self._nodes()}

    async def config(self, name: str) -> str | None:
        """A setting of the server's, None where it may not be asked."""
        try:
            return (await _soon(self._client.config_get(name))).get(name)
        except ResponseError:
            return None

    @property
    def database(self) -> int:
        """The number of the database that is looked at."""
        pool = getattr(self._client, "connection_pool", None)
        return 0 if pool is None else pool.connection_kwargs.get("db") or 0

    async def clock_offset(self) -> float:
        """Seconds by which the server's clock is ahead of ours; of several nodes, the one that is furthest off."""
        offsets: list[float] = []
        for _, node in self._nodes():
            before = time.time()
            seconds, microseconds = await _soon(self._client.time(**node))
            offsets.append(seconds + microseconds / 1e6 - (before + time.time()) / 2)
        return max(offsets, key=abs)

    async def scan(self, match: str, limit: int, read: Callable[[str], T | None]) -> Scan[T]:
        """What ``read`` makes of the keys that match a pattern, until it is about ``limit`` of them.

        Keys of which ``read`` makes nothing do not count, however many there are.
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
                # a key may come twice, and one that is not text is nobody's of ours
                for key in (key.decode(errors="replace") for key in found):
                    if (meaning := read(key)) is not None:
                        keys[key] = meaning
                if cursor == 0:
                    break
        return Scan(list(keys.values()), complete=True)

    async def ask(self, commands: Sequence[Ask]) -> list[Any]:
        """The answer to each command; an exception in the place of one that this key cannot give.

        Raises:
            ResponseError: the user may not ask.
        """
        replies: list[Any] = []
        for start in range(0, len(commands), BATCH):
            pipeline = self._client.pipeline(transaction=False)
            for command in commands[start : start + BATCH]:
                command(pipeline)
            replies += await _soon(pipeline.execute(raise_on_error=False))
        for reply in replies:
            if isinstance(reply, RedisError) and is_refusal(reply):
                raise reply  # of a key that is of another type, and the like, the others can be judged all the same
        return replies

    async def foretold(self, commands: Sequence[Sequence[str]]) -> list[bool] | None:
        """Whether each command would be refused to this user; None where the server does not say (``ACL DRYRUN``)."""
        try:
            user = await _soon(self._client.execute_command("ACL", "WHOAMI", **self._anywhere()))
            said = [
                await _soon(self._client.execute_command("ACL", "DRYRUN", user, *words, **self._anywhere()))
                for words in commands
            ]
        except (ResponseError, RedisClusterException):
            return None
        return [answer not in (b"OK", "OK") for answer in said]

    async def tried(self, commands: Sequence[Sequence[str]]) -> list[bool]:
        """Whether each command is refused to this user."""
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
        """The argument that sends a command to any one node."""
        return next(node for _, node in self._nodes())

    def _nodes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each node that holds keys, with the argument that sends a command there."""
        if isinstance(self._client, RedisCluster):
            yield from ((node.name, {"target_nodes": node}) for node in self._client.get_primaries())
        else:
            yield shown(self._url), {}


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Server]:
    """Open a server for reading.

    Raises:
        Problem: nothing answers there, or it lets nobody in, or it stops answering.
    """
    if url.startswith(MEMORY):
        raise Problem(
            f"{MEMORY} is the memory of one process, and no other can look into it",
            "Give the --url of the server where dockets and workers meet.",
        )
    with _told(url), _docket_quiet():
        async with AsyncExitStack() as stack:
            yield await _open(url, stack)


async def _open(url: str, stack: AsyncExitStack) -> Server:
    try:
        docket = await _soon(stack.enter_async_context(Docket(name=_LOOKING, url=url)))
    except ValueError:
        raise Problem(f"{_given_as(url)} is no Redis URL", f"One looks like {DEFAULT_URL}.") from None
    client = await stack.enter_async_context(docket.redis())
    with suppress(NoPermissionError):  # it lets us in, and what it refuses is found out
        await _soon(client.exists(_LOOKING))
    return Server(client, url)


def _given_as(url: str) -> str:
    """Where somebody has to look who gave it."""
    return URL_VARIABLE if os.environ.get(URL_VARIABLE) == url else "--url"


@contextmanager
def _told(url: str) -> Generator[None]:
    """What the client raises, as a problem that shows no password."""
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
    """Docket logs a traceback for a connection that fails, which :func:`_told` says in a sentence."""
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


def escaped(text: str) -> str:
    """Text as a pattern of ``SCAN`` that matches it alone."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)
