"""Metrics counted by prometheus_client's own classes, where several processes count together.

They keep the numbers in the files of ``PROMETHEUS_MULTIPROC_DIR``, and another process reads those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from opentelemetry.context import get_current
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .counting import Labels, SampledSpan
from .names import Metric

M = TypeVar("M", bound=Counter | Gauge | Histogram)


class _Series(NamedTuple, Generic[M]):
    child: M
    shows_exemplars: bool


class _Family(dict[Labels, Any]):
    """The series of a metric by their labels: prometheus_client takes a lock for every look."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self.metric = metric
        self.parent = _make(metric, registry)
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
    """As :class:`PlainCounts`, at many times the cost."""

    def __init__(self, metrics: Iterable[Metric], registry: CollectorRegistry) -> None:
        """Raises ValueError where the registry has one of the metrics' names, and leaves it as it was."""
        self._registry = registry
        self._families: dict[str, _Family] = {}
        try:
            for metric in metrics:
                self._families[metric.name] = _Family(metric, registry)
        except ValueError:
            self.close()
            raise

    def family(self, metric: Metric) -> _Family:
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
