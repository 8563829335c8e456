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
"""The type segment of a plain Docket task.  The component of such a task is the function's name."""


REMEMBERED = 1024
"""How many scopes, functions and quoted segments are cached: they repeat."""

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
"""Segments that need no quoting (RFC 3986's unreserved characters): most ids, and every id that taskctx makes."""

_SEGMENT = r"([A-Za-z0-9_.~%-]+)"
_TASK_KEY = re.compile(f"(?:anon|auth:{_SEGMENT}):{_SEGMENT}:{_SEGMENT}:{_SEGMENT}")


class TaskKeyParts(NamedTuple):
    """The decoded parts of a task key."""

    task_scope: str | None
    task_id: str
    task_type: str
    component: str


def build_task_key(task_scope: str | None, task_id: str, task_type: str, component: str) -> str:
    """The Docket key of a task; ``task_scope`` is None for an anonymous caller.

    Raises:
        InvalidArgument: a segment is empty or cannot be written as UTF-8.
        InvalidType: a segment is not a string.
    """
    is_plain = isinstance(task_id, str) and _PLAIN.fullmatch(task_id)  # pyright: ignore[reportUnnecessaryIsInstance]
    quoted = task_id if is_plain else _quoted("task id", task_id)
    try:
        return f"{_owner(task_scope)}:{quoted}:{_kind(task_type, component)}"
    except TypeError:
        # a segment without a hash is not a string: quoting finds which segment it is
        for name, segment in (("task scope", task_scope or "-"), ("task type", task_type), ("component", component)):
            _quoted(name, segment)
        raise


def parse_task_key(key: str) -> TaskKeyParts | None:
    """The parts of a taskctx task key; None for any other key."""
    found = _TASK_KEY.fullmatch(key)
    if found is None:
        return None
    scope, task_id, task_type, component = found.groups()
    if "%" in key:
        # an anonymous task has no scope
        if scope is not None and "%" in scope:
            scope = _decoded(scope)
        if "%" in task_id:
            task_id = _decoded(task_id)
        task_type, component = _decoded(task_type), _decoded(component)
        if "" in (scope, task_id, task_type, component):
            return None
    return TaskKeyParts(scope, task_id, task_type, component)


def snapshot_key(prefix: str, task_scope: str | None, task_id: str) -> str:
    """The key of a task's snapshot, without the docket's prefix: pass it to ``docket.key()``."""
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
    """The segment's text; empty unless quoting that text gives the same segment."""
    text = unquote(segment)
    return text if quote(text, safe="") == segment else ""
