"""``--tasks tests.stack.worker:collection``: the tasks, in a process that ends with the check."""

from __future__ import annotations

from tests.stack import child, workload

collection = workload.collection

child.end_with_the_check()
