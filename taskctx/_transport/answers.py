"""What a failure means for what comes next: another try may help, or a command was refused, and which one.

The server's own text is read and never passed on: it may quote what it was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from redis import exceptions as redis_errors

FAILURES = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)
"""All that a Redis client raises when a command is not done."""

DOCKETS_COMMANDS: Final = (
    *("client|setinfo", "del", "evalsha", "exec", "exists", "expire", "get", "hdel", "hello", "hexists", "hget"),
    *("hgetall", "hincrby", "hset", "multi", "pexpire", "psubscribe", "publish", "punsubscribe", "sadd"),
    *("script|load", "set", "smembers", "subscribe", "unsubscribe", "xack", "xadd", "xautoclaim", "xclaim", "xdel"),
    *("xgroup|create", "xlen", "xpending", "xrange", "xread", "xreadgroup", "zadd", "zcard", "zcount", "zrange"),
    *("zrangebyscore", "zrem", "zremrangebyscore", "zscore"),
)
"""What Docket sends, and its scripts call.  taskctx needs no other command."""

EXTRA_COMMANDS: Final = ("scan", "time", "ttl")
"""What taskctx sends besides, and does without where it is refused."""

CLUSTERS_COMMANDS: Final = ("cluster|slots", "command", "eval")
"""What Docket and the client of a cluster send besides."""

_LOOKING = ("config|get", "getrange", "hmget", "info", "strlen", "xinfo|groups")
"""What the command line sends besides, to look at what there is."""

_KNOWN = {*DOCKETS_COMMANDS, *EXTRA_COMMANDS, *CLUSTERS_COMMANDS, *_LOOKING}

_NAMED = re.compile(r"(?:permissions to run the|unknown command) ['`]([a-z|]+)['`]", re.IGNORECASE)
"""Where Redis and Valkey name the command that they refuse; up to Redis 6.2 they do not."""

_LATER: Final = {"BUSY", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "NOSCRIPT"}
"""The answers with which a server says that the same command may be done later."""

_CODES: Final[Mapping[type[Exception], str]] = {
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.MasterDownError: "MASTERDOWN",
    redis_errors.ClusterDownError: "CLUSTERDOWN",
    redis_errors.ClusterError: "TRYAGAIN",  # redirected too often, in the middle of a move
    redis_errors.TryAgainError: "TRYAGAIN",
    redis_errors.NoScriptError: "NOSCRIPT",
}
"""redis-py has a type for some, and takes the code off their text."""

_LOST = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)
_UNWELCOME = (redis_errors.AuthenticationError, redis_errors.AuthorizationError)
_WRONG_TYPE = "WRONGTYPE"


def later(error: Exception) -> str | None:
    """The code of an answer that says "later"; None where it says something else."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, redis_errors.ResponseError):
        return None
    code = str(error).partition(" ")[0]
    return code if code in _LATER else None


def is_lost(error: Exception) -> bool:
    """Whether there was no answer: the connection broke, or did not come about."""
    return isinstance(error, _LOST) and not isinstance(error, _UNWELCOME)


def is_of_another_type(error: Exception) -> bool:
    """Whether the key holds a list, a hash, ...: something else writes there."""
    return isinstance(error, redis_errors.ResponseError) and str(error).startswith(_WRONG_TYPE)


def is_refusal(error: Exception) -> bool:
    """Whether a command was refused for itself: the user may not send it, or the server does not have it."""
    if isinstance(error, redis_errors.NoPermissionError) or refused_command(error) is not None:
        return True
    # in a script, some versions do not name it
    return isinstance(error, redis_errors.ResponseError) and "script" in str(error) and not later(error)


def refused_command(error: Exception) -> str | None:
    """The command that the server refused because of the user's permissions, or does not know."""
    found = _NAMED.search(str(error)) if isinstance(error, redis_errors.ResponseError) else None
    name = found[1].lower() if found else ""
    # a name that is none of these may be anything
    return name.replace("|", " ").upper() if name in _KNOWN else None
