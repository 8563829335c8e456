"""Adds the ids of the task, the request and the trace to log records.

The ids are those of the code that writes the line, in servers and workers alike.  For :mod:`logging`, add the filter to
handlers (a logger's filter does not see the records of its child loggers)::

    handler.addFilter(TaskContextFilter())
    handler.setFormatter(logging.Formatter("%(task_id)s %(request_id)s %(trace_id)s %(message)s"))

For structlog, add the processor before the renderer::

    structlog.configure(processors=[add_task_context, structlog.processors.JSONRenderer()])

``docs/logging.md`` is the guide.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from ._caller.caller import current_caller
from ._caller.trace_context import current_trace_id
from ._worker.current_task import get_task_context


class TaskContextFilter(logging.Filter):
    """Adds ``task_id``, ``request_id`` and ``trace_id`` to every record; a missing id is None.

    The filter does not replace an attribute of the record: it may come from ``extra``, or from a filter in another
    thread or process.  The trace id is 32 hexadecimal digits, as in W3C's ``traceparent``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _current_ids().items():
            vars(record).setdefault(name, value)
        return True


def add_task_context(_logger: Any, _method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: adds the known ids, unless the event has its own."""
    for name, value in _current_ids().items():
        if value is not None:
            event_dict.setdefault(name, value)
    return event_dict


def _current_ids() -> dict[str, str | None]:
    task = get_task_context()
    return {
        "task_id": None if task is None else task.task_id,
        "request_id": current_caller.get(quietly=True).request_id,
        "trace_id": current_trace_id(),
    }
