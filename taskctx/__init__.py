"""taskctx carries a caller's context across a Docket task queue, and shows when a context is lost.

See https://docket.lol for Docket.  In a server::

    app.add_middleware(taskctx.asgi.TaskContextMiddleware)
    ...
    await taskctx.add(docket, make_report)(42)

In a worker::

    Worker(docket, dependencies=taskctx.worker_dependencies)
"""

from . import _upstream as _upstream  # first: it checks the names that the imports below need
from ._caller.caller import (
    anonymous,
    bind_caller,
    get_access_token,
    get_http_headers,
    get_request_id,
    get_task_scope,
)
from ._caller.carried import carry
from ._caller.registries import get_task_server, get_task_session, register_task_server, register_task_session
from ._caller.request import identify
from ._caller.token import AccessToken
from ._configure import configure
from ._configure import install_defaults as _install_defaults
from ._snapshot.keys import build_task_key
from ._snapshot.snapshot import TaskContextSnapshot
from ._submit.add import add, add_many, replace
from ._submit.by_id import cancel, get_execution
from ._version import __version__
from ._worker.current_task import TaskContextInfo, get_task_context, get_task_session_id
from ._worker.dependency import worker_dependencies
from ._worker.restoration import restore_task_snapshot
from .errors import (
    CaptureError,
    ConfigurationError,
    ExecutionError,
    InvalidArgument,
    InvalidType,
    Reason,
    RestoreError,
    SaveError,
    ScheduleError,
    SnapshotError,
    TaskContextError,
    UnsupportedVersion,
)
from .settings import Settings
from .telemetry.observers import Observer

__all__ = [
    "AccessToken",
    "CaptureError",
    "ConfigurationError",
    "ExecutionError",
    "InvalidArgument",
    "InvalidType",
    "Observer",
    "Reason",
    "RestoreError",
    "SaveError",
    "ScheduleError",
    "Settings",
    "SnapshotError",
    "TaskContextError",
    "TaskContextInfo",
    "TaskContextSnapshot",
    "UnsupportedVersion",
    "__version__",
    "add",
    "add_many",
    "anonymous",
    "bind_caller",
    "build_task_key",
    "cancel",
    "carry",
    "configure",
    "get_access_token",
    "get_execution",
    "get_http_headers",
    "get_request_id",
    "get_task_context",
    "get_task_scope",
    "get_task_server",
    "get_task_session",
    "get_task_session_id",
    "identify",
    "register_task_server",
    "register_task_session",
    "replace",
    "restore_task_snapshot",
    "worker_dependencies",
]

_install_defaults()
