"""The metrics of one test."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry

from .. import InvalidArgument
from ..telemetry.names import METRICS
from ._configured import configured

_NAMES: Final = {metric.name for metric in METRICS}


@dataclass(frozen=True, slots=True)
class RecordedMetrics:
    """The metrics that taskctx counted in a test.

    Attributes:
        registry: a registry of the test's own.
    """

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of a metric with these labels; 0 when there are no such series::

            assert taskctx_metrics.value("taskctx_restores_total", outcome="ok") == 1

        Args:
            name: a counter's or gauge's name, or a histogram's with ``_count`` or ``_sum``.  The name gives the unit.
            labels: some or all labels of the metric.

        Raises:
            InvalidArgument: taskctx has no such metric, or the metric has no such label.
        """
        series = self.series(name)
        unknown = labels.keys() - {label for have, _ in series for label in have}
        if series and unknown:
            raise InvalidArgument(f"{name} has no label {', '.join(sorted(unknown))}")
        return sum(value for have, value in series if labels.items() <= have.items())

    def series(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        """All series of a metric: labels and value.

        Raises:
            InvalidArgument: taskctx has no such metric.
        """
        if re.sub(r"_(count|sum|bucket)$", "", name) not in _NAMES:
            raise InvalidArgument(f"taskctx has no metric {name}; taskctx/telemetry/names.py describes those it has")
        samples = (sample for family in self.registry.collect() for sample in family.samples)
        return [(sample.labels, sample.value) for sample in samples if sample.name == name]


@contextmanager
def recorded_metrics() -> Generator[RecordedMetrics]:
    """Count into a new registry for the length of the block.  Also a fixture: ``taskctx_metrics``."""
    metrics = RecordedMetrics()
    with configured(registry=metrics.registry, metrics=True):
        yield metrics
