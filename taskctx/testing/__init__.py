"""Helpers for the tests of applications that use taskctx: fake callers, a real worker, recorded metrics and spans.

::

    async def test_a_report_is_its_callers(taskctx_caller):
        run = await run_as_worker(make_report, caller=taskctx_caller)(42)
        assert_restored(taskctx_caller, run.seen)

``docs/testing.md`` is the guide.  pytest is optional; where it is installed, there are the fixtures ``taskctx_caller``,
``taskctx_metrics`` and ``taskctx_spans``.  :mod:`taskctx.testing.spans` needs opentelemetry-sdk.
"""

from ._caller import NOBODY, FakeCaller, fake_caller
from ._configured import configured
from ._metrics import RecordedMetrics, recorded_metrics
from ._record import Attempt, TaskRun
from ._running import restored, run_as_worker
from ._seen import SeenContext, assert_restored

__all__ = [
    "NOBODY",
    "Attempt",
    "FakeCaller",
    "RecordedMetrics",
    "SeenContext",
    "TaskRun",
    "assert_restored",
    "configured",
    "fake_caller",
    "recorded_metrics",
    "restored",
    "run_as_worker",
]
