"""A task that Docket holds back (``RateLimit``, ``ConcurrencyLimit``) is tried again until its body may run.

What one try restored serves the next one in this process: the ``refresh_token`` hook is asked once for a run of the
body, and the snapshot is not read again where it is known to be the one in force.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final, NamedTuple

from docket.dependencies import AdmissionBlocked
from docket.execution import Execution

from .restoration import Restoration

KEPT: Final = 3600.0
"""Seconds that a try is remembered beyond the time its task is due: longer than most tokens live."""

MOST: Final = 1_000
"""Tries that are remembered; the oldest go."""


class _Try(NamedTuple):
    """A try that did not reach the body.

    Attributes:
        attempt: Docket counts on in the execution itself.
        comes_back: Docket itself schedules the task again, and nobody else does before.
        forgetting: the timer that ends it.
    """

    restoration: Restoration
    execution: Execution
    attempt: int
    comes_back: bool
    forgetting: asyncio.TimerHandle

    def is_before(self, execution: Execution) -> bool:
        """Whether this is the very next try of the same submission.

        Docket gives the task that it schedules again the next generation, and a time of its own to the microsecond.  A
        replacement has another time; a task that was parked keeps its time, and may have been replaced meanwhile.
        """
        earlier = self.execution
        return (
            self.comes_back
            and execution.docket is earlier.docket
            and execution.when == earlier.when
            and execution.generation == earlier.generation + 1
        )


class _HeldBack(dict[tuple[str, str], _Try]):
    """The tries of this process, by docket and task key."""

    def remember(self, restoration: Restoration, execution: Execution, blocked: AdmissionBlocked) -> None:
        """Keep what a try restored for the next one, if there is to be one."""
        if not (blocked.handled or blocked.reschedule):
            return
        key = _key(execution)
        self._forget(key)
        while len(self) >= MOST:
            self._forget(next(iter(self)))
        delay = 0.0 if blocked.retry_delay is None else blocked.retry_delay.total_seconds()
        timer = asyncio.get_running_loop().call_later(delay + KEPT, self._forget, key, context=Context())
        self[key] = _Try(restoration, execution, execution.attempt, not blocked.handled, timer)

    def resume(self, restoration: Restoration, execution: Execution) -> None:
        """Give a restoration what the try before it restored, if there was one and nothing was configured since."""
        earlier = self._forget(_key(execution))
        if earlier is None or earlier.attempt != execution.attempt:
            return
        if earlier.restoration.runtime is restoration.runtime:
            restoration.resume(earlier.restoration, is_in_force=earlier.is_before(execution))

    def _forget(self, key: tuple[str, str]) -> _Try | None:
        found = self.pop(key, None)
        if found is not None:
            found.forgetting.cancel()
        return found


def _key(execution: Execution) -> tuple[str, str]:
    return execution.docket.name, execution.key


held_back: Final = _HeldBack()
