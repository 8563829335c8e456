"""The changes of a process's counters between two readings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from taskctx.telemetry import names

from ..operating.fleet import Process
from ..operating.histogram import quantile
from .source import Comparison

K = TypeVar("K")
Buckets = dict[float, float]
_COUNTED = ("ok", "degraded", "failed")
"""The counted outcomes of restores; a skipped restore belongs to a task without a context."""


@dataclass(frozen=True, slots=True)
class Activity:
    """The activity of one process, or of all processes.

    Attributes:
        restores: the number of restores.
        failures: the number of failed and degraded restores, by reason.
        ages: the ages of snapshots at their restore in seconds, as cumulative counts by upper bound.
        headroom: the share of their TTL that was left, as cumulative counts by upper bound.
        down: why the process's metrics cannot be read; None when they can.
    """

    instance: str
    restores: float = 0.0
    failures: Mapping[str, float] = field(default_factory=dict[str, float])
    ages: Buckets = field(default_factory=Buckets)
    headroom: Buckets = field(default_factory=Buckets)
    down: str | None = None

    def age(self, of: float) -> float | None:
        """A quantile of the snapshots' age in seconds."""
        return quantile(of, self.ages)

    def least_headroom(self, of: float) -> float | None:
        """A low quantile of the share of the TTL that was left: that of the snapshots nearest to their expiry."""
        return quantile(of, self.headroom)


def activities(comparison: Comparison) -> list[Activity]:
    """The activity of each process that is down or has taskctx."""
    return [
        _activity(each, _before(each, comparison))
        for each in comparison.now
        if each.down is not None or each.has_taskctx
    ]


def _before(process: Process, comparison: Comparison) -> Process:
    """The earlier reading of a process; an empty one where all of its counts are of the compared time.

    A process that was not read then, and has run for longer, is compared with itself: its counts are of its whole life.
    """
    earlier = comparison.before.get(process.instance)
    if earlier is not None and earlier.samples:
        return earlier
    if comparison.seconds is None or process.started is None:
        return Process("")
    return process if time.time() - process.started > comparison.seconds else Process("")


def altogether(found: Iterable[Activity]) -> Activity:
    """The sum of all processes."""
    restores, failures, ages, headroom = 0.0, dict[str, float](), Buckets(), Buckets()
    for each in found:
        restores += each.restores
        _add(failures, each.failures)
        _add(ages, each.ages)
        _add(headroom, each.headroom)
    return Activity("all", restores, failures, ages, headroom)


def _activity(now: Process, before: Process) -> Activity:
    if now.down is not None:
        return Activity(now.instance, down=now.down)
    outcomes = now.grown("outcome", names.RESTORES.name, before)
    failures = now.grown("reason", names.RESTORE_FAILURES.name, before)
    return Activity(
        now.instance,
        restores=sum(outcomes.get(outcome, 0.0) for outcome in _COUNTED),
        failures={reason: count for reason, count in failures.items() if count},
        ages=_buckets(now, before, names.SNAPSHOT_AGE.name),
        headroom=_buckets(now, before, names.SNAPSHOT_TTL_REMAINING.name),
    )


def _buckets(now: Process, before: Process, histogram: str) -> Buckets:
    return {float(bound): count for bound, count in now.grown("le", f"{histogram}_bucket", before).items()}


def _add(total: dict[K, float], part: Mapping[K, float]) -> None:
    for key, count in part.items():
        total[key] = total.get(key, 0.0) + count
