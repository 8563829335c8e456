"""Traces, for API and workers alike: sent over OTLP when ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where to.

The collector may be slow or gone: spans wait in a bounded queue and are dropped when it is full, nothing waits for
them, and one log line a minute says so.
"""

from __future__ import annotations

import logging
import os
import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_EXPORTERS = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.sdk._shared_internal")


def set_up(service_name: str) -> None:
    """Called once a process.  ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` go before ``service_name``."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    for name in _EXPORTERS:
        logging.getLogger(name).addFilter(_OnceAMinute())
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service_name}
    provider = TracerProvider(resource=Resource.create(named))
    # With a collector that hangs, the end of a process takes three timeouts at most: docker stop waits for 10 s.
    exporter = OTLPSpanExporter(timeout=3)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2048, max_export_batch_size=1024))
    trace.set_tracer_provider(provider)


class _OnceAMinute(logging.Filter):
    """An exporter that finds no collector says so with every batch."""

    def __init__(self, interval: float = 60.0) -> None:
        super().__init__()
        self._interval = interval
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if record.levelno >= logging.WARNING and now < self._next:
            return False
        self._next = now + self._interval
        return True
