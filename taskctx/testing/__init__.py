"""For the tests of those who use taskctx: callers, tasks that run as a worker runs them, and what taskctx saw.

::

    async def test_a_report_is_its_callers(taskctx_caller):
        run = await run_as_worker(make_report, caller=taskctx_caller)(42)
        assert_restored(taskctx_caller, run.seen)

``docs/testing.md`` is the guide.  pytest is not needed; where it is installed, the fixtures ``taskctx_caller``,
``taskctx_metrics`` and ``taskctx_spans`` are there.  :mod:`taskctx.testing.spans` needs opentelemetry-sdk.
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
