"""The meaning of Redis keys: snapshots, Docket's records of tasks, Docket's streams, and FastMCP's own snapshots.

FastMCP's keys have the form of taskctx's keys, with two differences.  FastMCP does not quote a task's id and type.  A
FastMCP task that asked its caller for input gets a second execution, with a key that ends in ``#leg2``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from urllib.parse import quote, unquote

from taskctx._runtime import current_settings
from taskctx._snapshot.keys import PLAIN_TASK, parse_task_key, snapshot_key

_OWNER = r"(?:anon|auth:(?P<scope>[^:]+))"
_FASTMCP_TASK = re.compile(rf"{_OWNER}:(?P<id>.+):(?P<type>[^:]+):[^:#]+(?:#leg\d+)?", re.DOTALL)

_ANY_PREFIX = r"(?P<docket>.+):(?P<key_prefix>[A-Za-z0-9._-]+)"
"""Matches any ``key_prefix``, which may differ from this process's setting."""

_COMPONENTS = {"tool", "prompt", "resource", "template"}


class TaskRef(NamedTuple):
    """A task by the scope and id in its snapshot's key; the key does not contain the task's function.

    Attributes:
        fastmcp: whether this is a FastMCP task, with FastMCP's own snapshot.
    """

    task_scope: str | None
    task_id: str
    fastmcp: bool = False

    @property
    def stored_under(self) -> str:
        """The key of the task's snapshot, without the docket's prefix: pass it to ``docket.key()``."""
        if not self.fastmcp:
            return snapshot_key(current_settings().key_prefix, self.task_scope, self.task_id)
        owner = "anon" if self.task_scope is None else f"auth:{quote(self.task_scope, safe='')}"
        return f"fastmcp:task:{owner}:{self.task_id}:snapshot"


class Kind(Enum):
    SNAPSHOT = "snapshot"
    RECORD = "record"
    FASTMCP_SNAPSHOT = "fastmcp snapshot"
    OTHER_SNAPSHOT = "snapshot under another key prefix"
    STREAM = "stream"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Found:
    """A Redis key and its meaning.

    Attributes:
        docket: the docket's name.
        task: for a snapshot (taskctx's or FastMCP's): its task.
        task_key: for a record: Docket's key of the task.
        key_prefix: for a snapshot under another key prefix than this process has: that prefix.
    """

    key: str
    kind: Kind
    docket: str
    task: TaskRef | None = None
    task_key: str = ""
    key_prefix: str = ""


def reader() -> Callable[[str], Found | None]:
    """A function that returns the meaning of a Redis key, or None for a key without one."""
    prefix = re.escape(current_settings().key_prefix)
    patterns = (
        (Kind.SNAPSHOT, re.compile(rf"(?P<docket>.+):{prefix}:task:{_OWNER}:(?P<id>[^:]+):snapshot", re.DOTALL)),
        (Kind.FASTMCP_SNAPSHOT, re.compile(rf"(?P<docket>.+):fastmcp:task:{_OWNER}:(?P<id>.+):snapshot", re.DOTALL)),
        (Kind.RECORD, re.compile(r"(?P<docket>.+?):runs:(?P<task_key>.+)", re.DOTALL)),
        (Kind.OTHER_SNAPSHOT, re.compile(rf"{_ANY_PREFIX}:task:{_OWNER}:(?P<id>[^:]+):snapshot", re.DOTALL)),
        (Kind.STREAM, re.compile(r"(?P<docket>.+):stream")),
        (Kind.QUEUE, re.compile(r"(?P<docket>.+):queue")),
    )

    def read(key: str) -> Found | None:
        for kind, pattern in patterns:
            match = pattern.fullmatch(key)
            if match:
                parts = match.groupdict()
                task = _named(parts, fastmcp=kind is Kind.FASTMCP_SNAPSHOT) if "id" in parts else None
                named = {name: parts.get(name) or "" for name in ("task_key", "key_prefix")}
                return Found(key, kind, _without_tag(parts["docket"]), task, **named)
        return None

    return read


def task_of(task_key: str) -> TaskRef | None:
    """The task of a Docket key; None where neither :func:`taskctx.add` nor FastMCP built the key."""
    parts = parse_task_key(task_key)
    if parts is not None and parts.task_type == PLAIN_TASK:
        return TaskRef(parts.task_scope, parts.task_id)
    match = _FASTMCP_TASK.fullmatch(task_key)
    return _named(match.groupdict(), fastmcp=True) if match and match["type"] != PLAIN_TASK else None


def moment(stored: str) -> float:
    """A time in a task's record, in seconds since the epoch; 0 for other text, as other software may write."""
    with suppress(ValueError):
        return float(stored)
    with suppress(ValueError):
        return datetime.fromisoformat(stored).timestamp()
    return 0.0


def is_fastmcps(task_key: str) -> bool:
    """Whether FastMCP built a Docket key: FastMCP's tasks have FastMCP's own snapshots."""
    task = task_of(task_key)
    return task is not None and task.fastmcp


def is_fastmcps_tool(function: str) -> bool:
    """Whether a function's name on a docket is that of a FastMCP component: it begins with the component's type."""
    return function.partition(":")[0] in _COMPONENTS and ":" in function


def _named(parts: dict[str, str], *, fastmcp: bool) -> TaskRef:
    """The task with the scope and id in a key."""
    scope = parts["scope"]
    return TaskRef(scope and unquote(scope), parts["id"] if fastmcp else unquote(parts["id"]), fastmcp)


def _without_tag(prefix: str) -> str:
    """A docket's name from its prefix, which has braces in a cluster."""
    return prefix[1:-1] if prefix.startswith("{") and prefix.endswith("}") else prefix
