"""Which Redis key is what: snapshots, Docket's records of tasks, Docket's streams, and FastMCP's own snapshots."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote

from taskctx._keys import PLAIN_TASK, parse_task_key
from taskctx.settings import current_settings


class TaskRef(NamedTuple):
    """A task as its snapshot's key names it: the key does not say which function it runs."""

    task_scope: str | None
    task_id: str


class Kind(Enum):
    SNAPSHOT = "snapshot"
    RECORD = "record"
    FASTMCP_SNAPSHOT = "fastmcp snapshot"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Found:
    """A Redis key and what it is.

    Attributes:
        docket: the docket's name.
        task: of a snapshot.
        task_key: Docket's key for the task, of a record.
    """

    key: str
    kind: Kind
    docket: str
    task: TaskRef | None = None
    task_key: str = ""


def reader() -> Callable[[str], Found | None]:
    """A function that says what a Redis key is; None when it is nothing of interest here."""
    prefix = re.escape(current_settings().key_prefix)
    owner = r"(?:anon|auth:(?P<scope>[^:]+))"
    patterns = (
        (Kind.SNAPSHOT, re.compile(rf"(?P<docket>.+):{prefix}:task:{owner}:(?P<id>[^:]+):snapshot", re.DOTALL)),
        (Kind.FASTMCP_SNAPSHOT, re.compile(rf"(?P<docket>.+):fastmcp:task:{owner}:.+:snapshot", re.DOTALL)),
        (Kind.RECORD, re.compile(r"(?P<docket>.+?):runs:(?P<task_key>.+)", re.DOTALL)),
        (Kind.STREAM, re.compile(r"(?P<docket>.+):stream")),
    )

    def read(key: str) -> Found | None:
        for kind, pattern in patterns:
            match = pattern.fullmatch(key)
            if match:
                parts = match.groupdict()
                scope, task_id = parts.get("scope"), parts.get("id")
                task = TaskRef(None if scope is None else unquote(scope), unquote(task_id)) if task_id else None
                return Found(key, kind, _without_tag(parts["docket"]), task, parts.get("task_key") or "")
        return None

    return read


def task_of(task_key: str) -> TaskRef | None:
    """The task behind a Docket key, None where the key is not one that :func:`taskctx.add` makes."""
    parts = parse_task_key(task_key)
    return TaskRef(parts.task_scope, parts.task_id) if parts is not None and parts.task_type == PLAIN_TASK else None


def is_fastmcps(task_key: str) -> bool:
    """Whether a Docket key has the shape of FastMCP's, whose tasks have snapshots of their own."""
    return task_of(task_key) is None and task_key.startswith(("auth:", "anon:"))


def _without_tag(prefix: str) -> str:
    """A docket's name from its prefix, which a cluster has in braces."""
    return prefix[1:-1] if prefix.startswith("{") and prefix.endswith("}") else prefix
