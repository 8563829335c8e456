"""Metrics as plain numbers, which prometheus_client reads when it collects.

prometheus_client's own classes need a lock and several calls for each of the fourteen numbers of a task.  Here one
call under one lock counts an operation.  The exposition is the same, byte for byte.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from threading import RLock
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Exemplar, Sample
from prometheus_client.core import Metric as Exposed
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

from .names import Metric

_counting: Final = RLock()
"""Held while metrics are counted or read.  Re-entrant: garbage collection may run a finalizer that counts meanwhile."""

if hasattr(os, "register_at_fork"):  # not on Windows
    # held by another thread during a fork, it would be held in the child for ever
    os.register_at_fork(before=_counting.acquire, after_in_parent=_counting.release, after_in_child=_counting.release)

Labels = tuple[str, ...]
"""Label values of one series, in the order of the metric's labels."""

Series = Any
"""One series of a family, for :meth:`Counts.add` and :meth:`Counts.set`."""


class Counts(Protocol):
    """Counts metrics: :class:`PlainCounts`, or ``SharedCounts`` where several processes count together."""

    def family(self, metric: Metric) -> Mapping[Labels, Series]:
        """The series of a metric by their labels; the first lookup of a series creates it, at 0."""
        ...

    def add(
        self,
        counters: Iterable[Series],
        observed: Iterable[tuple[Series, float]] = (),
        amount: float = 1,
        traced: bool = False,
    ) -> None:
        """Add ``amount`` to each of the counters, and one value to each of the histograms.

        ``traced``: the current span, if it is sampled, becomes the exemplar of the series that show exemplars.
        """
        ...

    def set(self, gauge: Series, value: float) -> None: ...

    def close(self) -> None:
        """Remove the metrics from the registry."""
        ...


class SampledSpan(NamedTuple):
    """An exemplar's span, as numbers: most exemplars are replaced before they are formatted."""

    trace_id: int
    span_id: int
    timestamp: float

    @classmethod
    def of(cls, current: Context) -> SampledSpan | None:
        """The current span of a context, if it is sampled."""
        span = trace.get_current_span(current).get_span_context()
        if not (span.trace_flags.sampled and span.is_valid):
            return None
        return cls(span.trace_id, span.span_id, time.time())

    def labels(self) -> dict[str, str]:
        return {"trace_id": trace.format_trace_id(self.trace_id), "span_id": trace.format_span_id(self.span_id)}


_Exemplar = tuple[SampledSpan, float] | None
"""The last sampled span, and the value that it added."""


class _Part(NamedTuple):
    """One sample of a series."""

    suffix: str
    value: float
    exemplar: _Exemplar = None
    le: str | None = None


class _Counter:
    __slots__ = ("created", "exemplar", "shows_exemplars", "value")

    def __init__(self, metric: Metric) -> None:
        self.value = 0.0
        self.exemplar: _Exemplar = None
        self.shows_exemplars = metric.exemplars
        self.created = time.time()

    def parts(self) -> list[_Part]:
        return [_Part("_total", self.value, self.exemplar), _Part("_created", self.created)]


class _Gauge:
    __slots__ = ("value",)

    def __init__(self, metric: Metric) -> None:
        self.value: float = 0.0

    def parts(self) -> list[_Part]:
        return [_Part("", self.value)]


class _Histogram:
    __slots__ = ("bounds", "counts", "created", "exemplars", "les", "shows_exemplars", "sum")

    def __init__(self, metric: Metric) -> None:
        self.bounds = [*metric.buckets, float("inf")]
        self.les = [floatToGoString(bound) for bound in self.bounds]
        self.counts = [0.0] * len(self.bounds)
        self.exemplars: list[_Exemplar] = [None] * len(self.bounds)
        self.sum = 0.0
        self.shows_exemplars = metric.exemplars
        self.created = time.time()

    def parts(self) -> list[_Part]:
        below = list(accumulate(self.counts))
        return [
            *map(_Part, ["_bucket"] * len(below), below, self.exemplars, self.les),
            _Part("_count", below[-1]),
            _Part("_sum", self.sum),
            _Part("_created", self.created),
        ]


_KINDS: Final = {"counter": _Counter, "gauge": _Gauge, "histogram": _Histogram}


class _Family(dict[Labels, Any]):
    """The series of a metric by their labels."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        # a metric without labels has exactly one series
        if not metric.labels:
            self[()]

    def __missing__(self, labels: Labels) -> Any:
        with _counting:
            return self.setdefault(labels, _KINDS[self.metric.kind](self.metric))

    def without_samples(self) -> Exposed:
        return Exposed(self.metric.name.removesuffix("_total"), self.metric.description, self.metric.kind)


class PlainCounts:
    """Counts in this process; it is also the collector that a prometheus_client registry reads."""

    def __init__(self, metrics: Iterable[Metric], registry: CollectorRegistry) -> None:
        """Raises ValueError where the registry has one of the metrics' names; the registry is then unchanged."""
        self._acquire, self._release = _counting.acquire, _counting.release
        self._families = {metric.name: _Family(metric) for metric in metrics}
        self._registry: CollectorRegistry | None = registry
        registry.register(self)

    def family(self, metric: Metric) -> _Family:
        return self._families[metric.name]

    def add(
        self,
        counters: Iterable[_Counter],
        observed: Iterable[tuple[_Histogram, float]] = (),
        amount: float = 1,
        traced: bool = False,
    ) -> None:
        # an empty context has no span
        span = SampledSpan.of(current) if traced and (current := get_current()) else None
        # twice as fast as ``with``
        self._acquire()
        try:
            for counter in counters:
                counter.value += amount
                if span is not None and counter.shows_exemplars:
                    counter.exemplar = span, amount
            for histogram, value in observed:
                bucket = bisect_left(histogram.bounds, value)
                histogram.counts[bucket] += 1.0
                histogram.sum += value
                if span is not None and histogram.shows_exemplars:
                    histogram.exemplars[bucket] = span, value
        finally:
            self._release()

    def set(self, gauge: _Gauge, value: float) -> None:
        gauge.value = float(value)

    def close(self) -> None:
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.unregister(self)

    def describe(self) -> list[Exposed]:
        """The families without samples: prometheus_client checks their names before it registers a collector."""
        return [family.without_samples() for family in self._families.values()]

    def collect(self) -> Iterator[Exposed]:
        # read all values under the lock, but format them after it, while tasks continue
        with _counting:
            read = [
                (family, [(labels, series.parts()) for labels, series in family.items()])
                for family in self._families.values()
            ]
        with_created = _created_is_shown()
        for family, all_series in read:
            exposed = family.without_samples()
            for labels, parts in all_series:
                exposed.samples += [
                    _sample(exposed.name, dict(zip(family.metric.labels, map(str, labels), strict=True)), part)
                    for part in parts
                    if with_created or part.suffix != "_created"
                ]
            yield exposed


def _sample(name: str, labels: dict[str, str], part: _Part) -> Sample:
    if part.le is not None:
        labels["le"] = part.le
    if part.exemplar is None:
        exemplar = None
    else:
        span, amount = part.exemplar
        exemplar = Exemplar(span.labels(), amount, span.timestamp)
    return Sample(name + part.suffix, labels, part.value, None, exemplar)


def _created_is_shown() -> bool:
    """Whether prometheus_client exposes ``_created`` samples: an environment variable or a call switches them off."""
    (metric,) = Counter("taskctx", "", registry=None).collect()
    return len(metric.samples) > 1
