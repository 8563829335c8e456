"""FastMCP's registries of live sessions and servers, mirrored in taskctx's: there they are counted, and found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._caller.registries import WeakRegistry, servers, sessions

Register = Callable[[str, Any], None]
Find = Callable[[str], Any]


def registering(registry: WeakRegistry) -> Callable[[Register], Register]:
    """Wraps ``register_task_session`` or ``register_task_server``."""

    def wrap(theirs: Register) -> Register:
        def register(id: str, thing: Any) -> None:  # noqa: A002
            theirs(id, thing)
            if id:
                registry.register(id, thing)

        return register

    return wrap


def finding(registry: WeakRegistry) -> Callable[[Find], Find]:
    """Wraps ``get_task_session`` or ``get_task_server``: FastMCP's answer, counted."""

    def wrap(theirs: Find) -> Find:
        def find(id: str) -> Any:  # noqa: A002
            registry.find(id)
            return theirs(id)

        return find

    return wrap


register_session, find_session = registering(sessions), finding(sessions)
register_server, find_server = registering(servers), finding(servers)
