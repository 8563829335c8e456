"""The spans of one test.  This module needs opentelemetry-sdk; the rest of :mod:`taskctx.testing` does not."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ._configured import configured

try:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "taskctx.testing.spans (and the fixture taskctx_spans) needs opentelemetry-sdk: pip install opentelemetry-sdk",
        name=_missing.name,
    ) from None


@dataclass(frozen=True, slots=True)
class RecordedSpans:
    """The ended spans of taskctx in a test, and those that the test makes with ``provider``.

    Attributes:
        provider: the tracer provider that taskctx uses; Docket uses OpenTelemetry's global one.
        exporter: holds the ended spans.
    """

    provider: TracerProvider = field(default_factory=TracerProvider)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    @property
    def finished(self) -> Sequence[ReadableSpan]:
        """All ended spans, in the order of their ends."""
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans with this name: ``taskctx.capture``, ``taskctx.save``, ``taskctx.restore``, or a test's own."""
        return [span for span in self.finished if span.name == name]


@contextmanager
def recorded_spans() -> Generator[RecordedSpans]:
    """Record the spans of the block; afterwards the earlier provider is in use.  Also a fixture: ``taskctx_spans``."""
    spans = RecordedSpans()
    spans.provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    with configured(tracer_provider=spans.provider, tracing=True):
        try:
            yield spans
        finally:
            spans.provider.shutdown()
