"""All names of FastMCP that taskctx uses: those that all lines have in common, and those of the installed line.

A line is a major version of FastMCP; ``_fastmcp3`` and ``_fastmcp4`` have the names that only one line has.  Only these
modules import fastmcp.  Each private name, and each use that FastMCP does not promise, has a test in tests/upstream.
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
    """FastMCP's ``TaskContextSnapshot``, which is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    access_token_json: str | None
    http_headers: dict[str, str] | None
    origin_request_id: str | None
    session_id: str | None

    @classmethod
    def from_json(cls, raw: str | bytes, /) -> FastMCPSnapshot: ...

    def to_json(self) -> str: ...


class SnapshotCodec(Protocol):
    """FastMCP's own codec for a snapshot's JSON: it seals with FastMCP's key, or does not seal.

    Attributes:
        protected: whether FastMCP has a key; then a task fails when its snapshot cannot be restored.
    """

    protected: ClassVar[bool]

    def encode(self, text: str, /) -> str: ...

    def decode(self, stored: bytes, /) -> str:
        """The JSON in a stored value.

        Raises:
            SnapshotDecryptionError: the value is sealed, and FastMCP's key does not open it.
        """
        ...


class Line(Protocol):
    """The differences between the lines of FastMCP.

    Attributes:
        context: the module of task contexts.
        current_docket: the current docket, for a server without a docket of its own.
        LIFESPAN: the owner and the name of the function that starts a server's docket and worker.
        REGISTRIES: the owners of each function that registers or finds a live session or server.
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
        """The parts of a task's Docket key.  Raises ValueError for a key that FastMCP did not build."""
        ...

    def snapshot_redis_key(self, docket: Docket, task_scope: str | None, task_id: str, /) -> str: ...

    def snapshot_codec(self) -> SnapshotCodec: ...

    def as_unreadable(self, envelope: bytes, /) -> bytes:
        """An envelope in a form that a process without ``instrument()`` cannot take for a caller."""
        ...

    def current_message(self) -> Any:
        """The MCP request that is handled here, with its ``request_id``; None outside of an MCP request."""
        ...

    def current_request(self) -> object | None:
        """The HTTP request that is handled here; None outside of an HTTP request."""
        ...

    def clear(self) -> None:
        """Clear the caller of FastMCP's getters in the current task."""
        ...

    def put_in_force(self, task_id: str, snapshot: Any, /) -> None:
        """Let FastMCP's getters answer from a snapshot in the current task.

        Raises:
            Exception: the snapshot's token is not valid.
        """
        ...


line = cast("Line", installed)

Snapshot = cast("type[FastMCPSnapshot]", line.context.TaskContextSnapshot)

logger: logging.Logger = logging.getLogger(line.context.__name__)
"""The logger in which FastMCP itself logs failed restores."""


def docket_of(server: FastMCP) -> Docket | None:
    """The docket of a running server."""
    return cast("Docket | None", server._docket)  # noqa: SLF001


def submission_docket() -> Docket | None:
    """The docket to which FastMCP would submit a task here."""
    return docket_of(get_context().fastmcp) or line.current_docket.get()
