"""Reads a Redis failure: whether another try may help, and which command was refused.

The server's own text is never passed on: it may quote the data of a command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from redis import exceptions as redis_errors

FAILURES = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)
"""All errors that a Redis client raises when a command fails."""

DOCKETS_COMMANDS: Final = (
    *("client|setinfo", "del", "evalsha", "exec", "exists", "expire", "get", "hdel", "hello", "hexists", "hget"),
    *("hgetall", "hincrby", "hset", "multi", "pexpire", "psubscribe", "publish", "punsubscribe", "sadd"),
    *("script|load", "set", "smembers", "subscribe", "unsubscribe", "xack", "xadd", "xautoclaim", "xclaim", "xdel"),
    *("xgroup|create", "xlen", "xpending", "xrange", "xread", "xreadgroup", "zadd", "zcard", "zcount", "zrange"),
    *("zrangebyscore", "zrem", "zremrangebyscore", "zscore"),
)
"""The commands that Docket sends and that its scripts call.  taskctx needs no other command."""

EXTRA_COMMANDS: Final = ("scan", "time", "ttl")
"""The other commands that taskctx sends; it works without them where the server refuses them."""

CLUSTERS_COMMANDS: Final = ("cluster|slots", "command", "eval")
"""The other commands that Docket and a cluster client send in a cluster."""

_LOOKING = ("config|get", "getrange", "hmget", "info", "strlen", "xinfo|groups")
"""The other commands that taskctx's command line sends, all of them read-only."""

_KNOWN = {*DOCKETS_COMMANDS, *EXTRA_COMMANDS, *CLUSTERS_COMMANDS, *_LOOKING}

_NAMED = re.compile(r"(?:permissions to run the|unknown command) ['`]([a-z|]+)['`]", re.IGNORECASE)
"""Finds the refused command in an error of Redis or Valkey; up to 6.2 Redis does not name it."""

_LATER: Final = {"BUSY", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "NOSCRIPT"}
"""The error codes of a server that may accept the same command later."""

_CODES: Final[Mapping[type[Exception], str]] = {
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.MasterDownError: "MASTERDOWN",
    redis_errors.ClusterDownError: "CLUSTERDOWN",
    redis_errors.ClusterError: "TRYAGAIN",  # too many redirects while slots move
    redis_errors.TryAgainError: "TRYAGAIN",
    redis_errors.NoScriptError: "NOSCRIPT",
}
"""The codes of errors that have a type in redis-py: redis-py removes the code from their text."""

_LOST = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)
_UNWELCOME = (redis_errors.AuthenticationError, redis_errors.AuthorizationError)
_WRONG_TYPE = "WRONGTYPE"


def later(error: Exception) -> str | None:
    """The code of an error that means "later"; None for any other error."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, redis_errors.ResponseError):
        return None
    code = str(error).partition(" ")[0]
    return code if code in _LATER else None


def is_lost(error: Exception) -> bool:
    """Whether there was no answer: the connection broke, or was not established."""
    return isinstance(error, _LOST) and not isinstance(error, _UNWELCOME)


def is_of_another_type(error: Exception) -> bool:
    """Whether the key holds a list, a hash or another type: another program writes there."""
    return isinstance(error, redis_errors.ResponseError) and str(error).startswith(_WRONG_TYPE)


def is_refusal(error: Exception) -> bool:
    """Whether the server refused the command itself: the user may not send it, or the server does not know it."""
    if isinstance(error, redis_errors.NoPermissionError) or refused_command(error) is not None:
        return True
    # some versions do not name a command that a script called
    return isinstance(error, redis_errors.ResponseError) and "script" in str(error) and not later(error)


def refused_command(error: Exception) -> str | None:
    """The command that the server refused (because of the user's permissions) or does not know."""
    found = _NAMED.search(str(error)) if isinstance(error, redis_errors.ResponseError) else None
    name = found[1].lower() if found else ""
    # an unknown name may be any text
    return name.replace("|", " ").upper() if name in _KNOWN else None
