"""Which Redis key is what: snapshots, Docket's records of tasks, Docket's streams, and FastMCP's own snapshots.

FastMCP's keys are as ours, but that it quotes neither a task's id nor its type, and gives a task that asked its caller
something a second execution, whose key ends in ``#leg2``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from urllib.parse import quote, unquote

from taskctx._runtime import current_settings
from taskctx._snapshot.keys import PLAIN_TASK, parse_task_key, snapshot_key

_OWNER = r"(?:anon|auth:(?P<scope>[^:]+))"
_FASTMCP_TASK = re.compile(rf"{_OWNER}:(?P<id>.+):(?P<type>[^:]+):[^:#]+(?:#leg\d+)?", re.DOTALL)

_ANY_PREFIX = r"(?P<docket>.+):(?P<key_prefix>[A-Za-z0-9._-]+)"
"""Of a setting ``key_prefix`` that may be another here."""

_COMPONENTS = {"tool", "prompt", "resource", "template"}


class TaskRef(NamedTuple):
    """A task as its snapshot's key names it: the key does not say which function it runs.

    Attributes:
        fastmcp: it is a task of FastMCP's, whose snapshot is FastMCP's own.
    """

    task_scope: str | None
    task_id: str
    fastmcp: bool = False

    @property
    def stored_under(self) -> str:
        """Where its snapshot is, to be passed through ``docket.key()``."""
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
    """A Redis key and what it is.

    Attributes:
        docket: the docket's name.
        task: of a snapshot, ours or FastMCP's.
        task_key: Docket's key for the task, of a record.
        key_prefix: of a snapshot under another one than this process has.
    """

    key: str
    kind: Kind
    docket: str
    task: TaskRef | None = None
    task_key: str = ""
    key_prefix: str = ""


def reader() -> Callable[[str], Found | None]:
    """A function that says what a Redis key is; None when it is nothing of interest here."""
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
    """The task behind a Docket key, None where neither :func:`taskctx.add` nor FastMCP made the key."""
    parts = parse_task_key(task_key)
    if parts is not None and parts.task_type == PLAIN_TASK:
        return TaskRef(parts.task_scope, parts.task_id)
    match = _FASTMCP_TASK.fullmatch(task_key)
    return _named(match.groupdict(), fastmcp=True) if match and match["type"] != PLAIN_TASK else None


def is_fastmcps(task_key: str) -> bool:
    """Whether a Docket key is one of FastMCP's, whose tasks have snapshots of their own."""
    task = task_of(task_key)
    return task is not None and task.fastmcp


def is_fastmcps_tool(function: str) -> bool:
    """Whether a function's name on a docket is that of a FastMCP component, which begins with what it is."""
    return function.partition(":")[0] in _COMPONENTS and ":" in function


def _named(parts: dict[str, str], *, fastmcp: bool) -> TaskRef:
    """The task that a key's scope and id name."""
    scope = parts["scope"]
    return TaskRef(scope and unquote(scope), parts["id"] if fastmcp else unquote(parts["id"]), fastmcp)


def _without_tag(prefix: str) -> str:
    """A docket's name from its prefix, which a cluster has in braces."""
    return prefix[1:-1] if prefix.startswith("{") and prefix.endswith("}") else prefix
