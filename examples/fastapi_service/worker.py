"""What a worker process imports::

docket worker --tasks examples.fastapi_service.worker:tasks --dependencies taskctx:worker_dependencies
"""

from __future__ import annotations

from . import logs, tracing
from .tasks import tasks

__all__ = ["tasks"]

logs.set_up()
tracing.set_up("reports-worker")
