"""Log lines as JSON, each with the task, the request and the trace it is of."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from taskctx.logs import TaskContextFilter

FIELDS = "{asctime}{levelname}{name}{message}{exc_info}"


def set_up() -> None:
    """Called once a process.

    In a worker ``docket worker --logging-format json`` has made the handler.  The ids are added to what is there.
    """
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter(FIELDS, style="{"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
    for handler in root.handlers:
        handler.addFilter(TaskContextFilter())
    # uvicorn gives its loggers handlers of their own before it loads the application (none with --no-access-log)
    for logger in (logging.getLogger("uvicorn"), logging.getLogger("uvicorn.access")):
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    # a line for every request that a task makes
    logging.getLogger("httpx").setLevel(logging.WARNING)
