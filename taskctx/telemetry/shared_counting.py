"""Metrics of several processes that count together, in the files of prometheus_client's multiprocess mode."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from opentelemetry.context import get_current
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .counting import Labels, SampledSpan
from .names import Metric

_OLD_NAME = "prometheus_multiproc_dir"
DIRECTORY: Final = os.environ.get("PROMETHEUS_MULTIPROC_DIR", os.environ.get(_OLD_NAME))
"""The directory where processes count together, or None.  Read at import, as prometheus_client does."""

M = TypeVar("M", bound=Counter | Gauge | Histogram)


class _Series(NamedTuple, Generic[M]):
    child: M
    shows_exemplars: bool


class _SharedFamily(dict[Labels, Any]):
    """A cache of a metric's series by their labels: prometheus_client takes a lock for every lookup."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self.metric = metric
        self.parent: Counter | Gauge | Histogram = _make(metric, registry)
        if not metric.labels:
            self[()] = _Series(self.parent, metric.exemplars)

    def __missing__(self, labels: Labels) -> Any:
        return self.setdefault(labels, _Series(self.parent.labels(*labels), self.metric.exemplars))


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, description, labels = metric.name, metric.description, metric.labels
    if metric.kind == "counter":
        return Counter(name, description, labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(name, description, labels, registry=registry, multiprocess_mode=metric.multiprocess)
    return Histogram(name, description, labels, registry=registry, buckets=metric.buckets)


class SharedCounts:
    """Counts like :class:`PlainCounts`, but much more slowly."""

    def __init__(self, metrics: Iterable[Metric], registry: CollectorRegistry) -> None:
        """Raises ValueError where the registry has one of the metrics' names, and OSError where the directory cannot be
        used; the registry is then unchanged.
        """
        if DIRECTORY is not None:
            remove_stale_gauges(Path(DIRECTORY))
        self._registry = registry
        self._families: dict[str, _SharedFamily] = {}
        try:
            for metric in metrics:
                self._families[metric.name] = _SharedFamily(metric, registry)
        except (ValueError, OSError):
            self.close()
            raise

    def family(self, metric: Metric) -> _SharedFamily:
        return self._families[metric.name]

    def add(
        self,
        counters: Iterable[_Series[Counter]],
        observed: Iterable[tuple[_Series[Histogram], float]] = (),
        amount: float = 1,
        traced: bool = False,
    ) -> None:
        span = SampledSpan.of(get_current()) if traced else None
        exemplar = None if span is None else span.labels()
        for counter, shows_exemplars in counters:
            counter.inc(amount, exemplar if shows_exemplars else None)
        for (histogram, shows_exemplars), value in observed:
            histogram.observe(value, exemplar if shows_exemplars else None)

    def set(self, gauge: _Series[Gauge], value: float) -> None:
        gauge.child.set(value)

    def close(self) -> None:
        while self._families:
            _, family = self._families.popitem()
            self._registry.unregister(family.parent)


def remove_stale_gauges(directory: Path) -> None:
    """Remove the live gauges of processes that have ended, those of other libraries too; counters stay.

    prometheus_client expects a process manager's hook to do this, and ``uvicorn --workers`` has no such hook.
    """
    for path in directory.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and _has_ended(int(pid)):
            # another starting process may have removed the file
            with suppress(OSError):
                path.unlink()


def _has_ended(pid: int) -> bool:
    if os.name != "posix":
        # on Windows signal 0 is Ctrl-C
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        # the process belongs to another user, or the number is no pid
        return False
    return False
