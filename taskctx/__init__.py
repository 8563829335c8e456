"""taskctx carries a caller's context across a Docket task queue, and shows when it is lost.

See https://docket.lol for Docket.  In a server::

    app.add_middleware(taskctx.asgi.TaskContextMiddleware)
    ...
    await taskctx.add(docket, make_report)(42)

In a worker::

    Worker(docket, dependencies=taskctx.worker_dependencies)
"""

from ._ambient import bind_caller, get_access_token, get_http_headers, get_request_id, get_task_scope
from ._carry import carry
from ._configure import configure
from ._configure import install_defaults as _install_defaults
from ._current import TaskContextInfo, get_task_context, get_task_session_id
from ._keys import build_task_key
from ._observe import Observer
from ._registry import get_task_server, get_task_session, register_task_server, register_task_session
from ._restore import restore_task_snapshot
from ._snapshot import TaskContextSnapshot
from ._submit import add, add_many, replace
from ._token import AccessToken
from ._version import __version__
from ._worker import worker_dependencies
from .errors import (
    CaptureError,
    ConfigurationError,
    InvalidArgument,
    InvalidType,
    Reason,
    RestoreError,
    SaveError,
    SnapshotError,
    TaskContextError,
)
from .settings import Settings

__all__ = [
    "AccessToken",
    "CaptureError",
    "ConfigurationError",
    "InvalidArgument",
    "InvalidType",
    "Observer",
    "Reason",
    "RestoreError",
    "SaveError",
    "Settings",
    "SnapshotError",
    "TaskContextError",
    "TaskContextInfo",
    "TaskContextSnapshot",
    "__version__",
    "add",
    "add_many",
    "bind_caller",
    "build_task_key",
    "carry",
    "configure",
    "get_access_token",
    "get_http_headers",
    "get_request_id",
    "get_task_context",
    "get_task_scope",
    "get_task_server",
    "get_task_session",
    "get_task_session_id",
    "register_task_server",
    "register_task_session",
    "replace",
    "restore_task_snapshot",
    "worker_dependencies",
]

_install_defaults()
