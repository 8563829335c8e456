"""The spans of one test.  Needs opentelemetry-sdk, which the rest of :mod:`taskctx.testing` does without."""

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
    """The spans that taskctx has ended in a test, and those that the test makes with ``provider``.

    Attributes:
        provider: the tracer provider that taskctx uses; Docket uses OpenTelemetry's global one.
        exporter: where the spans go.
    """

    provider: TracerProvider = field(default_factory=TracerProvider)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    @property
    def finished(self) -> Sequence[ReadableSpan]:
        """All of them, in the order in which they ended."""
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name: ``taskctx.capture``, ``taskctx.save``, ``taskctx.restore``, or one of the test's own."""
        return [span for span in self.finished if span.name == name]


@contextmanager
def recorded_spans() -> Generator[RecordedSpans]:
    """Record the spans of the block; afterwards they go where they went before.  Also a fixture: ``taskctx_spans``."""
    spans = RecordedSpans()
    spans.provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    with configured(tracer_provider=spans.provider, tracing=True):
        try:
            yield spans
        finally:
            spans.provider.shutdown()
