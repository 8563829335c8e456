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
"""Scopes and functions, and segments that need quoting, come again and again."""

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
    is_plain = isinstance(task_id, str) and _PLAIN.fullmatch(task_id)  # pyright: ignore[reportUnnecessaryIsInstance]
    quoted = task_id if is_plain else _quoted("task id", task_id)
    try:
        return f"{_owner(task_scope)}:{quoted}:{_kind(task_type, component)}"
    except TypeError:
        # what has no hash is no string: quoting says which segment it is
        for name, segment in (("task scope", task_scope or "-"), ("task type", task_type), ("component", component)):
            _quoted(name, segment)
        raise


def parse_task_key(key: str) -> TaskKeyParts | None:
    """The parts of a task key of ours, or None for any other key."""
    found = _TASK_KEY.fullmatch(key)
    if found is None:
        return None
    scope, task_id, task_type, component = found.groups()
    if "%" in key:
        # the scope is None where there is none
        if scope is not None and "%" in scope:
            scope = _decoded(scope)
        if "%" in task_id:
            task_id = _decoded(task_id)
        task_type, component = _decoded(task_type), _decoded(component)
        if "" in (scope, task_id, task_type, component):
            return None
    return TaskKeyParts(scope, task_id, task_type, component)


def snapshot_key(prefix: str, task_scope: str | None, task_id: str) -> str:
    """Where a task's snapshot is stored, to be passed through ``docket.key()``."""
    return f"{prefix}:task:{_owner(task_scope)}:{_quoted('task id', task_id)}:snapshot"


@lru_cache(REMEMBERED)
def _owner(task_scope: str | None) -> str:
    return "anon" if task_scope is None else f"auth:{_quoted('task scope', task_scope)}"


@lru_cache(REMEMBERED)
def _kind(task_type: str, component: str) -> str:
    return f"{_quoted('task type', task_type)}:{_quoted('component', component)}"


def _quoted(name: str, segment: object) -> str:
    if not isinstance(segment, str):
        raise InvalidType(f"the {name} must be a string, not {type(segment).__name__}")
    if not segment:
        raise InvalidArgument(f"the {name} must not be empty")
    if _PLAIN.fullmatch(segment):
        return segment
    try:
        return quote(segment, safe="")
    except UnicodeEncodeError:
        raise InvalidArgument(f"the {name} must be text that UTF-8 can hold (it has a lone surrogate)") from None


@lru_cache(REMEMBERED)
def _decoded(segment: str) -> str:
    """The segment's text; nothing unless quoting that text gives the segment again."""
    text = unquote(segment)
    return text if quote(text, safe="") == segment else ""
