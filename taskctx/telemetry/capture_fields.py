"""Which fields captures found: seven counts each, added up here until Prometheus asks.

Nearly all captures are alike in their fields.  So those that are alike are counted together, and the counters get the
sum: prometheus_client, which is Python, takes a lock and checks its labels for every count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Counter
from prometheus_client.metrics_core import Metric

from ..operations import FIELDS, Field, FieldResult

_Alike = tuple[frozenset[FieldResult], ...]
"""The results of each field, in the fields' order."""


class ToldCounter(Counter):
    """A counter family that says so before it is collected.  In no other way does prometheus_client read one."""

    before_collecting: Callable[[], None]

    def collect(self) -> Iterable[Metric]:
        self.before_collecting()
        return super().collect()


class FieldCounts:
    """Adds up, and hands over."""

    def __init__(self, family: ToldCounter, *, at_once: bool) -> None:
        """``at_once``: somebody else reads the counters, and asks nobody (multiprocess mode)."""
        self._counters = {(field, result): family.labels(field, result) for field in Field for result in FieldResult}
        self._at_once = at_once
        self._times: dict[_Alike, int] = {}
        self._lock = threading.Lock()
        family.before_collecting = self.hand_over

    def add(self, fields: Mapping[Field, frozenset[FieldResult]]) -> None:
        """Count one capture's: all of :data:`FIELDS` in their order, or none."""
        alike = tuple(fields.values())
        with self._lock:
            self._times[alike] = self._times.get(alike, 0) + 1
        if self._at_once:
            self.hand_over()

    def hand_over(self) -> None:
        with self._lock:
            taken, self._times = self._times, {}
        for alike, times in taken.items():
            for field, results in zip(FIELDS, alike, strict=False):
                for result in results:
                    self._counters[field, result].inc(times)
