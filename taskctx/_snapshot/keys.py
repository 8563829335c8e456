"""Task keys and Redis keys.

A Docket task key names the authorization scope, so that anonymous and authenticated tasks live in
disjoint keyspaces::

    auth:{scope}:{task id}:{type}:{component}
    anon:{task id}:{type}:{component}

Every segment is percent-encoded (``quote(safe="")``), so no scope or id can contain a delimiter, and
each key has exactly one reading: :func:`parse_task_key` accepts only what :func:`build_task_key` gives.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from ..errors import InvalidArgument, InvalidType

PLAIN_TASK = "task"
"""The type segment of a plain Docket task, whose component is the function's name."""


REMEMBERED = 1024
"""Segments that need quoting are scopes as a rule, and one caller's come again and again."""

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
"""What quoting leaves as it is (RFC 3986's unreserved characters): most ids, and all that are made for a task."""

_SEGMENT = r"([A-Za-z0-9_.~%-]+)"
_TASK_KEY = re.compile(f"(?:anon|auth:{_SEGMENT}):{_SEGMENT}:{_SEGMENT}:{_SEGMENT}")


class TaskKeyParts(NamedTuple):
    """A task key, decoded."""

    task_scope: str | None
    task_id: str
    task_type: str
    component: str


def build_task_key(task_scope: str | None, task_id: str, task_type: str, component: str) -> str:
    """The Docket task key of a task; ``task_scope`` None is an anonymous caller's.

    Raises:
        InvalidArgument: a segment is empty or cannot be written as UTF-8.
        InvalidType: a segment is not a string.
    """
    owned = _owned(task_scope, task_id)
    return f"{owned}:{_quoted('task type', task_type)}:{_quoted('component', component)}"


def parse_task_key(key: str) -> TaskKeyParts | None:
    """The parts of a task key of ours, or None for any other key."""
    found = _TASK_KEY.fullmatch(key)
    if found is None:
        return None
    # the scope's is None where there is none
    decoded = [segment and _unquoted(segment) for segment in found.groups()]
    return None if "" in decoded else TaskKeyParts(*decoded)


def snapshot_key(prefix: str, task_scope: str | None, task_id: str) -> str:
    """Where a task's snapshot is stored, to be passed through ``docket.key()``."""
    return f"{prefix}:task:{_owned(task_scope, task_id)}:snapshot"


def snapshot_key_of(prefix: str, task_key: str) -> str:
    """As :func:`snapshot_key`, of a task key that :func:`build_task_key` gave: its segments are quoted already."""
    owned, _, _ = task_key.rsplit(":", 2)
    return f"{prefix}:task:{owned}:snapshot"


def _owned(task_scope: str | None, task_id: str) -> str:
    owner = "anon" if task_scope is None else f"auth:{_quoted('task scope', task_scope)}"
    return f"{owner}:{_quoted('task id', task_id)}"


def _quoted(name: str, segment: object) -> str:
    if not isinstance(segment, str):
        raise InvalidType(f"the {name} must be a string, not {type(segment).__name__}")
    if not segment:
        raise InvalidArgument(f"the {name} must not be empty")
    if _PLAIN.fullmatch(segment):
        return segment
    try:
        return _encoded(segment)
    except UnicodeEncodeError:
        raise InvalidArgument(f"the {name} must be text that UTF-8 can hold (it has a lone surrogate)") from None


def _unquoted(segment: str) -> str:
    """The segment's text; nothing unless quoting that text gives the segment again."""
    return _decoded(segment) if "%" in segment else segment


@lru_cache(REMEMBERED)
def _encoded(text: str) -> str:
    return quote(text, safe="")


@lru_cache(REMEMBERED)
def _decoded(segment: str) -> str:
    text = unquote(segment)
    return text if quote(text, safe="") == segment else ""
