"""What the demo tells the processes that it starts, and what each of those does first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from prometheus_client import start_http_server

from ..processes import end_with_parent

NAME: Final = "TASKCTX_DEMO_NAME"
DIRECTORY: Final = "TASKCTX_DEMO_DIRECTORY"
URL: Final = "DOCKET_URL"
DOCKET: Final = "TASKCTX_DEMO_DOCKET"
SIGNING_KEY: Final = "TASKCTX_DEMO_SIGNING_KEY"
METRICS_PORT: Final = "TASKCTX_DEMO_METRICS_PORT"
"""Environment variables, because a command line can be read by others; Docket's own command looks at the URL."""

HOST: Final = "127.0.0.1"
CONCURRENCY: Final = 4
"""Tasks at a time in each worker, the server's own too: few enough that every worker has some."""


def prepare() -> None:
    """Write down this process's spans, and end with the demo: if it was the demo that started it."""
    if DIRECTORY not in os.environ:
        return
    end_with_parent()
    exporter = ConsoleSpanExporter(
        out=Path(os.environ[DIRECTORY], f"{os.environ[NAME]}.spans").open("a", encoding="utf-8"),  # noqa: SIM115
        formatter=lambda span: f"{span.to_json(indent=None)}\n",
    )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def serve_metrics() -> None:
    """As ``docket worker --metrics-port`` does."""
    start_http_server(int(os.environ[METRICS_PORT]), addr=HOST)
