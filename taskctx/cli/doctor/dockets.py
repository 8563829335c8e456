"""Finds the dockets on a server: by their snapshots, and by Docket's own keys of tasks and workers.

Other software has keys that end in ``:stream`` and ``:queue`` too, so the content of these keys decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from ..operating.layout import Found, Kind, moment
from ..operating.server import Ask, Server

WORKER_GROUP = b"docket-workers"
_SNAPSHOTS = (Kind.SNAPSHOT, Kind.FASTMCP_SNAPSHOT, Kind.OTHER_SNAPSHOT)
_LOOKED_INTO = 10
"""How many records of a docket are read, to check that they are Docket's."""


async def dockets_among(server: Server, found: Sequence[Found]) -> set[str]:
    """The names of the dockets that own these keys."""
    certain = {each.docket for each in found if each.kind in _SNAPSHOTS}
    for kind, is_dockets in ((Kind.RECORD, _records), (Kind.STREAM, _streams), (Kind.QUEUE, _queues)):
        candidates = [each for each in found if each.kind is kind and each.docket not in certain]
        certain |= await is_dockets(server, candidates)
    return certain


async def _records(server: Server, found: Iterable[Found]) -> set[str]:
    """The dockets with a record that has a state and a time."""
    some: dict[str, list[str]] = {}
    for each in found:
        keys = some.setdefault(each.docket, [])
        if len(keys) < _LOOKED_INTO:
            keys.append(each.key)
    dockets = [docket for docket, keys in some.items() for _ in keys]
    answers = await _ask(server, [partial(_state, key) for keys in some.values() for key in keys])
    return {
        docket
        for docket, answer in zip(dockets, answers, strict=True)
        if answer and None not in answer and moment(answer[1].decode(errors="replace"))
    }


async def _streams(server: Server, found: Sequence[Found]) -> set[str]:
    """The dockets with a stream that Docket's workers read, or that begins with a task."""
    groups = await _ask(server, [partial(_groups, each.key) for each in found])
    entries = await _ask(server, [partial(_first_entry, each.key) for each in found])
    return {
        each.docket
        for each, read_by, first in zip(found, groups, entries, strict=True)
        if any(group["name"] == WORKER_GROUP for group in read_by or ())
        or any(message and {b"key", b"function"} <= message.keys() for _, message in first or ())
    }


async def _queues(server: Server, found: Sequence[Found]) -> set[str]:
    """The dockets with a queue that begins with a parked task."""
    members = await _ask(server, [partial(_first_member, each.key) for each in found])
    parked = [
        (each.docket, server.docket(each.docket).parked_task_key(first[0].decode(errors="replace")))
        for each, first in zip(found, members, strict=True)
        if first
    ]
    functions = await _ask(server, [partial(_function, key) for _, key in parked])
    return {docket for (docket, _), function in zip(parked, functions, strict=True) if function}


async def _ask(server: Server, commands: Sequence[Ask]) -> list[Any]:
    """The answers; None for a key of another type."""
    return [None if isinstance(answer, Exception) else answer for answer in await server.ask(commands)]


def _state(key: str, pipeline: Any) -> object:
    return pipeline.hmget(key, ("state", "when"))


def _groups(key: str, pipeline: Any) -> object:
    return pipeline.xinfo_groups(key)


def _first_entry(key: str, pipeline: Any) -> object:
    return pipeline.xrange(key, count=1)


def _first_member(key: str, pipeline: Any) -> object:
    return pipeline.zrange(key, 0, 0)


def _function(key: str, pipeline: Any) -> object:
    return pipeline.hget(key, "function")
