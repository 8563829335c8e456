"""Finds a task by a task id, a Docket key or a Redis key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from taskctx._transport.keyspace import escaped

from .._problem import Problem
from ..operating.layout import Found, Kind, TaskRef, reader, task_of
from ..operating.server import Server


@dataclass(frozen=True, slots=True)
class Located:
    """A task that was found.

    Attributes:
        task: the scope and id; None for a task that was added without taskctx.
        redis_key: the Redis key of its snapshot, even if the key does not exist; empty where it cannot have one.
        task_keys: Docket's keys of the task that still have a record.
    """

    docket: str
    task: TaskRef | None
    redis_key: str
    task_keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name that differs from those of other tasks with the same id."""
        return self.redis_key or f"{self.docket}: {', '.join(self.task_keys)}"

    @property
    def fastmcp(self) -> bool:
        """Whether the task has FastMCP's own snapshot."""
        return self.task is not None and self.task.fastmcp


async def locate(server: Server, given: str, dockets: Sequence[str], limit: int) -> list[Located]:
    """The matching tasks; more than one where several scopes or dockets use the same id.

    Raises:
        Problem: no task was found, and not all keys were scanned.
    """
    wanted = _Wanted.of(given, dockets)
    direct = wanted.known(server)
    if direct is not None:
        return [direct]
    found, complete = list[Found](), True
    read = reader()
    for match in wanted.patterns():
        scan = await server.scan(match, limit, read)
        complete = complete and scan.complete
        found += filter(wanted.is_meant, scan.found)
    located = list(_grouped(server, found))
    if not located and not complete:
        raise Problem(
            f"{given} was not found, and the server holds more keys than were looked at",
            "Raise --limit, or give the Docket key of the task together with --docket, which needs no search.",
        )
    return located


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The given text, parsed.

    Attributes:
        docket: the docket in a Redis key.
        task: the task in a Redis key or a Docket key.
        task_key: the Docket key, where one was given.
    """

    given: str
    dockets: Sequence[str]
    docket: str | None = None
    task: TaskRef | None = None
    task_key: str | None = None

    @classmethod
    def of(cls, given: str, dockets: Sequence[str]) -> _Wanted:
        key = reader()(given)
        if key is not None and key.task is not None and not key.key_prefix:
            return cls(given, dockets, key.docket, key.task)
        if key is not None and key.kind is Kind.RECORD:
            return cls(given, dockets, key.docket, task_of(key.task_key), key.task_key)
        task = task_of(given)
        return cls(given, dockets, None, task, None if task is None else given)

    def known(self, server: Server) -> Located | None:
        """The task, where the given text identifies it without a search."""
        docket = self.docket or (self.dockets[0] if len(self.dockets) == 1 else None)
        if docket is None or self.task is None or self.task_key is None:
            return None
        return Located(docket, self.task, _redis_key(server, docket, self.task), (self.task_key,))

    def patterns(self) -> list[str]:
        """The patterns to search: the id, quoted as in taskctx's keys and plain as in FastMCP's and other keys."""
        task_id = self.given if self.task is None else self.task.task_id
        return [f"*{escaped(text)}*" for text in dict.fromkeys((quote(task_id, safe=""), task_id))]

    def is_meant(self, found: Found) -> bool:
        if (self.dockets and found.docket not in self.dockets) or (self.docket and found.docket != self.docket):
            return False
        match found.kind:
            case Kind.SNAPSHOT | Kind.FASTMCP_SNAPSHOT:
                return self._is_task(found.task)
            case Kind.RECORD:
                return found.task_key == (self.task_key or self.given) or self._is_task(task_of(found.task_key))
            case _:
                return False

    def _is_task(self, task: TaskRef | None) -> bool:
        if task is None:
            return False
        return task == self.task or (self.task is None and task.task_id == self.given)


def _grouped(server: Server, found: Iterable[Found]) -> Iterator[Located]:
    """Group the snapshots and records by task."""
    task_keys: dict[tuple[str, TaskRef | None, str], list[str]] = {}
    for each in found:
        task = each.task or task_of(each.task_key)
        keys = task_keys.setdefault((each.docket, task, "" if task else each.task_key), [])
        keys += [each.task_key] if each.task_key else []
    for (docket, task, _), keys in task_keys.items():
        redis_key = "" if task is None else _redis_key(server, docket, task)
        yield Located(docket, task, redis_key, tuple(sorted(keys)))


def _redis_key(server: Server, docket: str, task: TaskRef) -> str:
    return server.docket(docket).key(task.stored_under)
