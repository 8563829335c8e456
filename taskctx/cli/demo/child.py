"""What every process that the demo starts does first: write down its spans, and end when the demo is gone."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from taskctx.telemetry.names import Attribute

NAME: Final = "TASKCTX_DEMO_NAME"
DIRECTORY: Final = "TASKCTX_DEMO_DIRECTORY"
"""Environment variables: the process's name in the demo, and where it writes its spans."""


def prepare() -> None:
    """Set up this process, if the demo started it."""
    name, directory = os.environ.get(NAME), os.environ.get(DIRECTORY)
    if name is None or directory is None:
        return
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SpanFile(name, Path(directory))))
    trace.set_tracer_provider(provider)
    end_with_the_demo()


def end_with_the_demo() -> None:
    """Stop this process when the demo closes our stdin, which the system does for it even if it is killed."""

    def wait() -> None:
        # not through sys.stdin, whose lock a thread must not hold when Python shuts down
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class SpanFile(SpanExporter):
    """Appends each span to a file of this process's own, one JSON object a line."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._file = (directory / f"{name}.spans").open("a", buffering=1, encoding="utf-8")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            self._file.write(json.dumps(_record(self._name, span)) + "\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()


def _record(process: str, span: ReadableSpan) -> dict[str, object]:
    context = span.get_span_context()
    attributes = span.attributes or {}
    return {
        "process": process,
        "name": span.name,
        "kind": span.kind.name,
        "trace_id": trace.format_trace_id(context.trace_id) if context else "",
        "span_id": trace.format_span_id(context.span_id) if context else "",
        "parent_id": trace.format_span_id(span.parent.span_id) if span.parent else None,
        "links": [
            [trace.format_trace_id(link.context.trace_id), trace.format_span_id(link.context.span_id)]
            for link in span.links
        ],
        "start": span.start_time or 0,
        "end": span.end_time or 0,
        "attempt": attributes.get(Attribute.DOCKET_ATTEMPT),
        "outcome": attributes.get(Attribute.OUTCOME),
    }
