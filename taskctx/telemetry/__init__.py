"""Telemetry, at the edge: metrics, spans and log lines, each an observer of its own.

The only package that imports prometheus_client and OpenTelemetry's tracing API.
"""

from __future__ import annotations

import logging

from opentelemetry.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry

from .._observe import Observer
from ..settings import Settings
from .logs import LogObserver
from .metrics import PrometheusObserver
from .tracing import TracingObserver

logger: logging.Logger = logging.getLogger("taskctx")


def make_observers(
    settings: Settings,
    registry: CollectorRegistry = REGISTRY,
    tracer_provider: TracerProvider | None = None,
) -> list[Observer]:
    """The observers that the settings ask for.  Spans come first, so that metrics find the current one."""
    observers: list[Observer] = []
    if settings.tracing:
        observers.append(TracingObserver(tracer_provider))
    if settings.metrics:
        try:
            observers.append(PrometheusObserver(settings, registry))
        except ValueError:
            logger.warning(
                "the Prometheus registry has metrics named taskctx_* already: taskctx counts nothing in this process. "
                "Give it a registry of its own: taskctx.configure(registry=...)"
            )
    observers.append(LogObserver())
    return observers
