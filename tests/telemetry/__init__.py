"""Helpers to read what the telemetry says."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric


def tree(spans: Sequence[ReadableSpan]) -> str:
    """Spans as indented text, children under their parents in the order of their start.

    Each line has the span's name and kind, and the names of the spans it links to.
    """
    by_id = {_id(span): span for span in spans}
    lines: list[str] = []

    def draw(parent: int | None, indent: int) -> None:
        for span in sorted(spans, key=lambda span: span.start_time or 0):
            above = None if span.parent is None else span.parent.span_id
            # a parent that is not among the spans is somebody else's: remote, or not sampled
            if (above if above in by_id else None) != parent:
                continue
            lines.append("    " * indent + _line(span, by_id))
            draw(_id(span), indent + 1)

    draw(None, 0)
    return "\n".join(lines)


def _line(span: ReadableSpan, by_id: dict[int, ReadableSpan]) -> str:
    links = [by_id[link.context.span_id].name for link in span.links if link.context.span_id in by_id]
    return f"{span.name} {span.kind.name}" + (f" -> {', '.join(links)}" if links else "")


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def families(registry: CollectorRegistry) -> dict[str, Metric]:
    """The metric families of ours by the names that they are exposed under."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in registry.collect()
        if family.name.startswith("taskctx_")
    }
