"""``--tasks tests.stack.worker:collection``: the tasks, in a process that ends with the check."""

from __future__ import annotations

from taskctx.cli.processes import end_with_parent
from tests.stack import workload

collection = workload.collection

end_with_parent()
