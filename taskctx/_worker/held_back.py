"""Tasks that Docket holds back (``RateLimit``, ``ConcurrencyLimit``): Docket tries again until the body may run.

The next try in this process reuses the last try's result: the ``refresh_token`` hook is called once for a run of the
body, and the snapshot is not read again where it is certainly the same.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final, NamedTuple

from docket.dependencies import AdmissionBlocked
from docket.execution import Execution

from .restoration import Restoration

KEPT: Final = 3600.0
"""Seconds for which a try is remembered after the time when its task is due: longer than most tokens are valid."""

MOST: Final = 1_000
"""The most tries that are remembered; the oldest are removed."""


class _Try(NamedTuple):
    """A try that did not reach the body.

    Attributes:
        attempt: the attempt of this try; Docket increases the number in the execution itself.
        comes_back: Docket itself schedules the task again, before anyone else can.
        forgetting: the timer that removes the try.
    """

    restoration: Restoration
    execution: Execution
    attempt: int
    comes_back: bool
    forgetting: asyncio.TimerHandle

    def is_before(self, execution: Execution) -> bool:
        """Whether ``execution`` is the next try of the same submission.

        When Docket schedules the task again, it writes a new due time, exact to the microsecond, into the earlier
        execution, and the next generation has that time.  A replacement has another time; a parked task keeps its time,
        but may have been replaced meanwhile.
        """
        earlier = self.execution
        return (
            self.comes_back
            and execution.docket is earlier.docket
            and execution.when == earlier.when
            and execution.generation == earlier.generation + 1
        )


class _HeldBack(dict[tuple[str, str], _Try]):
    """The tries in this process, by docket name and task key."""

    def remember(self, restoration: Restoration, execution: Execution, blocked: AdmissionBlocked) -> None:
        """Keep the result of a try for the next try, if Docket will try again."""
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
        """Give a restoration the result of the try before it, unless the configuration has changed since."""
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
