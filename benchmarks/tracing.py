"""OpenTelemetry's SDK in a child: a batch processor that exports over OTLP and HTTP to the sink."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

QUEUE = 1 << 18
"""Spans that may wait.  The SDK's 2048 would drop some of a round's, and what is dropped costs nothing."""

FLUSH_MILLISECONDS = 60_000


def start(endpoint: str, sampling: float) -> TracerProvider:
    """Install a tracer provider for the process."""
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sampling)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint), max_queue_size=QUEUE))
    trace.set_tracer_provider(provider)
    return provider


def flush(provider: TracerProvider) -> None:
    """Have all spans exported.

    Raises:
        RuntimeError: they were not.
    """
    if not provider.force_flush(FLUSH_MILLISECONDS):
        raise RuntimeError("the sink did not take the spans in time")
