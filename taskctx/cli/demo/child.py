"""The environment variables of the demo's processes, and their set-up."""

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
"""Environment variables, because other users can read a command line; Docket's own command reads the URL too."""

HOST: Final = "127.0.0.1"
CONCURRENCY: Final = 4
"""The tasks at a time in each worker, the server's own too: few, so that every worker gets tasks."""


def prepare() -> None:
    """If the demo started this process: write its spans to a file, and end the process with the demo."""
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
    """Serve the metrics, like ``docket worker --metrics-port``."""
    start_http_server(int(os.environ[METRICS_PORT]), addr=HOST)
