"""The installed line of FastMCP, and taskctx's needs of it; checked at the import of ``taskctx.fastmcp``.

A line is a major version: in line 3, tasks are part of FastMCP; from version 4 on, tasks are a separate package.
"""

from __future__ import annotations

from importlib.util import find_spec
from inspect import signature
from typing import Any, Final

from ..errors import UnsupportedVersion
from . import Need, require, version_of

PACKAGES: Final = ("fastmcp-slim", "fastmcp", "fastmcp-tasks")
"""The packages of FastMCP; the first and the last one hold its code."""

TASKS: Final = {3: "fastmcp.server.tasks", 4: "fastmcp_tasks"}
"""The package of the tasks, by line."""

INSTALL: Final = "taskctx 'fastmcp[tasks]'"
MEANWHILE: Final = "until then nothing of FastMCP is instrumented, and all else of taskctx works"


def installed_line() -> int:
    """The line of the installed tasks package.

    Raises:
        UnsupportedVersion: no tasks package is installed, or those of two lines.
    """
    lines = [line for line, tasks in TASKS.items() if _is_there(f"{tasks}.context")]
    if len(lines) == 1:
        return lines[0]
    if lines:
        problem = "those of FastMCP 3 and of FastMCP 4 are in one environment"
        remedy = "pip uninstall fastmcp-tasks, or pip install 'fastmcp[tasks]>=4'"
    else:
        problem, remedy = "there are none", "pip install 'taskctx[fastmcp]'"
    found = ", ".join(f"{package} {number}" for package in PACKAGES if (number := version_of(package))) or "nothing"
    raise UnsupportedVersion(
        f"taskctx needs the tasks of FastMCP 3.4 or later, but {problem} (installed: {found}): {remedy}; {MEANWHILE}"
    )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # the parent package is missing
        return False


def _each(package: str, purpose: str, module: str, *names: str) -> tuple[Need, ...]:
    return tuple(Need(package, f"{module}:{name}", purpose) for name in names)


def _carries_more(snapshot: Any) -> bool:
    stored = snapshot(session_id="id").to_json()
    return snapshot.from_json(f'{stored[:-1]}, "taskctx": {{}}}}').session_id == "id"


_CALLER: Final = "capture, save and restore a task's caller"
_FOUND: Final = "count which sessions and servers tasks find"
_KEY: Final = "find the caller's scope in a task's key"
_WORK: Final = "find a server's docket, and know when its worker starts"
_REQUEST: Final = "find the current request and its caller"

_SLIM: Final = "fastmcp-slim"
_DEPENDENCIES: Final = "fastmcp.server.dependencies"
_REGISTER: Final = ("register_task_session", "register_task_server")
_FIND: Final = ("get_task_session", "get_task_server")


def _of_both(package: str, tasks: str) -> tuple[Need, ...]:
    """The needs that both lines have, in different packages."""
    snapshot, parameters = (
        f"{tasks}.context:TaskContextSnapshot",
        ("self", "docket", "task_scope", "task_id", "ttl_seconds"),
    )
    return (
        Need(package, snapshot, "carry more in it than FastMCP does", _carries_more),
        Need(package, f"{snapshot}.capture", _CALLER),
        Need(package, f"{snapshot}.save", _CALLER, lambda save: parameters == (*signature(save).parameters,)),
        *_each(package, _CALLER, f"{tasks}.context", "restore_task_snapshot", "_remember_snapshot"),
        *_each(package, _FOUND, f"{tasks}.context", *_REGISTER, *_FIND),
        *_each(package, _KEY, f"{tasks}.keys", "parse_task_key"),
        *_each(_SLIM, _REQUEST, _DEPENDENCIES, "get_access_token", "get_context", "get_http_headers"),
        *_each(_SLIM, _WORK, "fastmcp.server.server", "FastMCP"),
    )


NEEDS: Final[dict[int, tuple[Need, ...]]] = {
    3: (
        *_of_both(_SLIM, TASKS[3]),
        *_each(_SLIM, _CALLER, f"{TASKS[3]}.context", "_task_snapshot"),
        *_each(_SLIM, _CALLER, "fastmcp.server.auth", "AccessToken"),
        *_each("mcp", _CALLER, "mcp.server.auth.middleware.auth_context", "auth_context_var"),
        *_each(_SLIM, _FOUND, f"{TASKS[3]}.handlers", *_REGISTER),
        *_each(_SLIM, _FOUND, _DEPENDENCIES, *_REGISTER, *_FIND),
        *_each(_SLIM, _KEY, f"{TASKS[3]}.keys", "task_redis_prefix"),
        *_each(_SLIM, _WORK, _DEPENDENCIES, "_current_docket"),
        *_each(_SLIM, _WORK, "fastmcp.server.mixins.lifespan", "LifespanMixin._docket_lifespan"),
        *_each(_SLIM, _REQUEST, "fastmcp.server.http", "_current_http_request"),
        *_each("mcp", _REQUEST, "mcp.server.lowlevel.server", "request_ctx"),
    ),
    4: (
        *_of_both("fastmcp-tasks", TASKS[4]),
        *_each("fastmcp-tasks", _CALLER, f"{TASKS[4]}.context", "_apply_snapshot_to_context", "_snapshot_redis_key"),
        *_each("fastmcp-tasks", _CALLER, f"{TASKS[4]}.encryption", "SnapshotDecryptionError", "snapshot_codec"),
        *_each("fastmcp-tasks", _FOUND, f"{TASKS[4]}.creation", "register_task_server"),
        *_each("fastmcp-tasks", _WORK, f"{TASKS[4]}.dependencies", "_current_docket"),
        *_each("fastmcp-tasks", _WORK, f"{TASKS[4]}.lifespan", "docket_lifespan"),
        *_each(_SLIM, _REQUEST, _DEPENDENCIES, "fastmcp_request_ctx", "get_http_request"),
    ),
}
"""The names that ``taskctx.fastmcp`` imports and replaces, by line."""

LINE: Final = installed_line()
FASTMCP_VERSION: Final = next(filter(None, map(version_of, PACKAGES)), "unknown")

require(NEEDS[LINE], INSTALL, MEANWHILE)
