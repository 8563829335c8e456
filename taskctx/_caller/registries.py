"""Live sessions and servers of this process, found by id from the tasks they submitted.

A worker in the server's own process can give a task the live object; a worker in another process finds nothing here,
by design.  The registries hold weak references, and no more of them than the settings allow.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from typing import Any

from .._runtime import current_settings
from ..errors import InvalidArgument, InvalidType
from ..operations import Registry, RegistryEviction, RegistryLookup, RegistrySize
from ..telemetry.observe import notify

_REMEMBERED_DEAD = 1_000
"""How many ids of dead objects are kept, so that a lookup can say "dead" instead of "miss"."""


class _Entry(weakref.ref[Any]):
    """A weak reference with its id, so that a later object under the same id is not removed in its place."""

    __slots__ = ("id",)
    id: str


class WeakRegistry:
    """Weak references to objects by id; bounded (the oldest is removed first) and thread-safe."""

    def __init__(self, name: Registry) -> None:
        self._name: Registry = name
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._dead: OrderedDict[str, None] = OrderedDict()
        # A weak reference's callback runs wherever the garbage collector runs, maybe inside one of our own
        # methods: the callback only notes the entry, and the next call removes the entry.
        self._died: deque[_Entry] = deque()
        # re-entrant, because garbage collection may run a user's finalizer that calls this registry
        self._lock = threading.RLock()

    def register(self, id: str, thing: object) -> None:  # noqa: A002
        if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidType(f"a {self._name}'s id must be a string, not {type(id).__name__}")
        if not id:
            raise InvalidArgument(f"a {self._name}'s id must not be empty")
        try:
            entry = _Entry(thing, self._died.append)
        except TypeError:
            raise InvalidType(
                f"an object of type {type(thing).__name__} cannot be referenced weakly, and so not be registered "
                f"as a {self._name}"
            ) from None
        entry.id = id
        capacity = self._capacity()
        with self._lock:
            self._clear_dead()
            self._dead.pop(id, None)
            self._entries[id] = entry
            self._entries.move_to_end(id)
            evicted = max(0, len(self._entries) - capacity)
            for _ in range(evicted):
                self._entries.popitem(last=False)
            if evicted:
                notify(RegistryEviction(self._name, "capacity", evicted))
            self._report_size()

    def find(self, id: str) -> Any | None:  # noqa: A002
        with self._lock:
            self._clear_dead()
            entry = self._entries.get(id)
            thing = entry() if entry is not None else None
            dead = thing is None and (entry is not None or id in self._dead)
        notify(RegistryLookup(self._name, "hit" if thing is not None else "dead" if dead else "miss"))
        return thing

    def remove(self, id: str, thing: object) -> None:  # noqa: A002
        """Remove ``id`` if ``thing`` is the object registered under it."""
        with self._lock:
            self._clear_dead()
            entry = self._entries.get(id)
            if entry is not None and entry() is thing:
                del self._entries[id]
                notify(RegistryEviction(self._name, "removed"))
                self._report_size()

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._dead.clear()
            self._died.clear()

    def __len__(self) -> int:
        with self._lock:
            self._clear_dead()
            return len(self._entries)

    def _clear_dead(self) -> None:
        cleared = 0
        while self._died:
            entry = self._died.popleft()
            # a later registration under the same id is another entry, and stays registered
            if self._entries.get(entry.id) is not entry:
                continue
            del self._entries[entry.id]
            self._dead[entry.id] = None
            if len(self._dead) > _REMEMBERED_DEAD:
                self._dead.popitem(last=False)
            cleared += 1
        if cleared:
            notify(RegistryEviction(self._name, "dead", cleared))
            self._report_size()

    def _report_size(self) -> None:
        # while the lock is held, so that two threads cannot report their sizes in the wrong order
        notify(RegistrySize(self._name, len(self._entries), self._capacity()))

    def _capacity(self) -> int:
        settings = current_settings()
        return settings.session_registry_size if self._name == "session" else settings.server_registry_size


sessions = WeakRegistry("session")
servers = WeakRegistry("server")


def register_task_session(session_id: str, session: object) -> None:
    """Let tasks that run in this process find a live session by its id.

    ``add`` calls this for the session bound with :func:`taskctx.bind_caller`.  The registry holds a weak reference; a
    later registration under the same id replaces it.

    Raises:
        InvalidType: the session cannot be referenced weakly, or the id is not a string.
        InvalidArgument: the id is empty.
    """
    sessions.register(session_id, session)


def get_task_session(session_id: str) -> Any | None:
    """The live session registered under an id; None where the session is gone or belongs to another process."""
    return sessions.find(session_id)


def register_task_server(task_id: str, server: object) -> None:
    """Let a task that runs in this process find the server that submitted it.

    ``add`` calls this for the server bound with :func:`taskctx.bind_caller`.  The registry holds a weak reference, and
    removes the oldest entry when there are more than ``server_registry_size``.

    Raises:
        InvalidType: the server cannot be referenced weakly, or the id is not a string.
        InvalidArgument: the id is empty.
    """
    servers.register(task_id, server)


def get_task_server(task_id: str) -> Any | None:
    """The live server that submitted a task; None where the server is gone or belongs to another process."""
    return servers.find(task_id)
