"""Every name of FastMCP's that taskctx uses: those that are the same in each line of FastMCP, and the installed line.

A line is a major version, and a module with what is its alone; these and this are all that import fastmcp.  What is
private there, or is used in a way that FastMCP does not promise, has a test in tests/upstream.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any, ClassVar, Protocol, cast

from docket import Docket
from fastmcp.server.dependencies import get_access_token, get_context, get_http_headers
from fastmcp.server.server import FastMCP

from .._upstream.fastmcp import LINE

if LINE == 3:  # noqa: PLR2004
    from . import _fastmcp3 as installed
else:
    from . import _fastmcp4 as installed

__all__ = [
    "FastMCP",
    "FastMCPSnapshot",
    "Snapshot",
    "docket_of",
    "get_access_token",
    "get_context",
    "get_http_headers",
    "line",
    "logger",
    "submission_docket",
]


class FastMCPSnapshot(Protocol):
    """A ``TaskContextSnapshot`` of FastMCP's, which is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    access_token_json: str | None
    http_headers: dict[str, str] | None
    origin_request_id: str | None
    session_id: str | None

    @classmethod
    def from_json(cls, raw: str | bytes, /) -> FastMCPSnapshot: ...

    def to_json(self) -> str: ...


class SnapshotCodec(Protocol):
    """How FastMCP itself seals a snapshot's JSON: with a key of its own, or not at all.

    Attributes:
        protected: with a key; then a task whose snapshot cannot be restored fails.
    """

    protected: ClassVar[bool]

    def encode(self, text: str, /) -> str: ...

    def decode(self, stored: bytes, /) -> str:
        """The JSON in a stored value.

        Raises:
            SnapshotDecryptionError: it is sealed, and does not open.
        """
        ...


class Line(Protocol):
    """What differs from one major line of FastMCP to the next.

    Attributes:
        context: the module of task contexts.
        current_docket: the docket that is current where a server has none of its own.
        LIFESPAN: the owner and the name of what starts a server's docket and worker.
        REGISTRIES: the owners of each function that keeps or finds a live session or server.
    """

    @property
    def context(self) -> ModuleType: ...
    @property
    def current_docket(self) -> ContextVar[Docket | None]: ...
    @property
    def LIFESPAN(self) -> tuple[Any, str]: ...  # noqa: N802 - a module's constant
    @property
    def REGISTRIES(self) -> Mapping[str, tuple[ModuleType, ...]]: ...  # noqa: N802
    @property
    def SnapshotDecryptionError(self) -> type[Exception]: ...  # noqa: N802

    def parse_task_key(self, task_key: str, /) -> Mapping[str, Any]:
        """The parts of a task's Docket key; a ValueError for a key that is not FastMCP's."""
        ...

    def snapshot_redis_key(self, docket: Docket, task_scope: str | None, task_id: str, /) -> str: ...

    def snapshot_codec(self) -> SnapshotCodec: ...

    def as_unreadable(self, envelope: bytes, /) -> bytes:
        """The form of an envelope that a process that is not instrumented cannot take for a caller."""
        ...

    def current_message(self) -> Any:
        """The request of an MCP client that is being handled, with its ``request_id``; None outside of one."""
        ...

    def current_request(self) -> object | None:
        """The HTTP request that is being handled; None outside of one."""
        ...

    def clear(self) -> None:
        """Have FastMCP's getters know no caller in the current task."""
        ...

    def put_in_force(self, task_id: str, snapshot: Any, /) -> None:
        """Have FastMCP's getters answer from a snapshot in the current task.

        Raises:
            Exception: the snapshot's token is none.
        """
        ...


line = cast("Line", installed)

Snapshot = cast("type[FastMCPSnapshot]", line.context.TaskContextSnapshot)

logger: logging.Logger = logging.getLogger(line.context.__name__)
"""Where FastMCP itself logs what went wrong in a restore."""


def docket_of(server: FastMCP) -> Docket | None:
    """The docket that a server runs its tasks on, while it runs."""
    return cast("Docket | None", server._docket)  # noqa: SLF001


def submission_docket() -> Docket | None:
    """The docket that a call made here and now is submitted to as a task, as FastMCP looks for it."""
    return docket_of(get_context().fastmcp) or line.current_docket.get()
