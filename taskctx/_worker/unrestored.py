"""Detects a worker without ``worker_dependencies``: a task reads its caller, and no caller was restored."""

from __future__ import annotations

from typing import Final
from weakref import WeakSet

from docket import Execution
from docket.dependencies import current_execution

from .._caller.caller import current_caller
from .._runtime import runtime
from .._snapshot.keys import parse_task_key
from ..errors import Reason, RestoreError
from ..operations import UnrestoredRead
from ..telemetry.observe import docket_seen, notify

_reported: Final[WeakSet[Execution]] = WeakSet()
"""The runs that were reported: a body may read its caller more than once."""


def watch_unrestored_runs() -> None:
    """Call :func:`_was_never_restored` at each read of the caller in a run that bound no caller."""
    current_caller.set_lost_check(_was_never_restored)


def _was_never_restored() -> bool:
    """Whether a taskctx task runs here, which must not see the caller that is bound around its worker.

    Raises:
        RestoreError: (``not_restored``) a taskctx task runs here, and ``on_restore_failure`` is ``fail``.
    """
    execution = current_execution.get(None)
    if execution is None or parse_task_key(execution.key) is None:
        return False
    within = runtime()
    fails_task = within.settings.fails_task(Reason.NOT_RESTORED)
    if execution not in _reported:
        _reported.add(execution)
        docket_seen(execution.docket.name, within=within)
        notify(UnrestoredRead(execution.docket.name, execution.function_name, fails_task), within)
    if fails_task:
        raise RestoreError(Reason.NOT_RESTORED)
    return True
