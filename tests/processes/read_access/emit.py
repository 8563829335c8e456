"""Has a process emit all that it can: every span and every log record to the last field, and its metrics at the end."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import atexit
import logging
import os
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.openmetrics import exposition

from taskctx.logs import TaskContextFilter


class _Everything(logging.Formatter):
    """A record as it would be printed, and all of its fields."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{super().format(record)} {record.__dict__!r}"


def set_up(role: str) -> None:
    """Called once a process."""
    directory = Path(os.environ["EMITTED"])
    spans = (directory / f"{role}-{os.getpid()}.spans").open("w")
    provider = TracerProvider(resource=Resource.create({"service.name": role}))
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=spans)))
    trace.set_tracer_provider(provider)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Everything())
    handler.addFilter(TaskContextFilter())
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    atexit.register(_write_metrics, directory / f"{role}-{os.getpid()}.metrics")


def metrics() -> bytes:
    """Both expositions; OpenMetrics has exemplars."""
    return generate_latest(REGISTRY) + exposition.generate_latest(REGISTRY)


def _write_metrics(path: Path) -> None:
    path.write_bytes(metrics())
