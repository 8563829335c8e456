"""Replaces FastMCP's functions by taskctx's wrappers, all or none, and restores them."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, cast

from .._caller.caller import current_caller
from .._caller.registries import WeakRegistry, servers, sessions
from .._worker.sweep import sweeping
from ..telemetry.observe import docket_seen
from . import _upstream
from ._caller import FastMCPCallers
from ._restoration import restoring
from ._submission import capturing, saving_snapshots
from ._upstream import line

Register = Callable[[str, Any], None]
Find = Callable[[str], Any]


def registering(registry: WeakRegistry) -> Callable[[Register], Register]:
    """Wraps ``register_task_session`` or ``register_task_server``."""

    def wrap(original: Register) -> Register:
        def register(id: str, thing: Any) -> None:  # noqa: A002
            original(id, thing)
            if id:
                registry.register(id, thing)

        return register

    return wrap


def finding(registry: WeakRegistry) -> Callable[[Find], Find]:
    """Wraps ``get_task_session`` or ``get_task_server``: counts the lookup and returns FastMCP's answer."""

    def wrap(original: Find) -> Find:
        def find(id: str) -> Any:  # noqa: A002
            registry.find(id)
            return original(id)

        return find

    return wrap


REGISTRIES: dict[str, Callable[[Any], object]] = {
    "register_task_session": registering(sessions),
    "get_task_session": finding(sessions),
    "register_task_server": registering(servers),
    "get_task_server": finding(servers),
}

Lifespan = Callable[..., AbstractAsyncContextManager[None]]


class Patch(NamedTuple):
    """A name of FastMCP that is replaced.  ``wrap`` takes the original object and returns its replacement."""

    owner: Any
    name: str
    wrap: Callable[[Any], object]


class _Replaced(NamedTuple):
    owner: Any
    name: str
    original: Any
    ours: object


_lock = threading.Lock()
_replaced: list[_Replaced] = []


def instrument() -> None:
    """Let taskctx capture, save and restore FastMCP's task context, in this process.

    Call it before the server starts, on servers and workers alike; a second call does nothing.  Workers that already
    run do not change.

    The import of ``taskctx.fastmcp`` raises :class:`taskctx.UnsupportedVersion` where FastMCP lacks what taskctx needs.
    """
    with _lock:
        if _replaced:
            return
        _replaced.extend(_prepared())
        for owner, name, _, ours in _replaced:
            setattr(owner, name, ours)
        current_caller.use_source(FastMCPCallers())


def uninstrument() -> None:
    """Undo :func:`instrument`.  Workers that run already do not change."""
    with _lock:
        current_caller.use_source(None)
        for owner, name, original, _ in reversed(_replaced):
            setattr(owner, name, original)
        _replaced.clear()


def _prepared() -> list[_Replaced]:
    """All replacements: every name is looked up before the first one is replaced."""
    replaced: list[_Replaced] = []
    wrapped: dict[int, object] = {}
    for owner, name, wrap in PATCHES:
        # from vars(): a class method must not be bound to its class
        original = cast("dict[str, Any]", vars(owner))[name]
        ours = wrapped.setdefault(id(original), wrap(original))
        replaced.append(_Replaced(owner, name, original, ours))
    return replaced


def _with_docket_seen(original: Lifespan) -> Lifespan:
    """Wraps FastMCP's ``docket_lifespan``: when a worker starts, the series of its docket and tools are created at 0,
    and the snapshots of plain Docket tasks are swept.  FastMCP's own snapshots are not swept: between two tasks they
    may wait for a user's input.
    """

    @asynccontextmanager
    async def docket_lifespan(server: _upstream.FastMCP, *args: Any, **kwargs: Any) -> AsyncGenerator[None]:
        async with original(server, *args, **kwargs):
            docket = _upstream.docket_of(server)
            if docket is None:
                yield
                return
            docket_seen(docket.name, tuple(docket.tasks))
            async with sweeping(docket):
                yield

    return docket_lifespan


PATCHES: tuple[Patch, ...] = (
    Patch(_upstream.Snapshot, "capture", capturing),
    Patch(_upstream.Snapshot, "save", saving_snapshots),
    Patch(line.context, "restore_task_snapshot", restoring),
    *(Patch(owner, name, REGISTRIES[name]) for name, owners in line.REGISTRIES.items() for owner in owners),
    Patch(*line.LIFESPAN, _with_docket_seen),
)
