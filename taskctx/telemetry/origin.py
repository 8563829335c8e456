"""The span that submitted a task, from the carrier of its snapshot."""

from __future__ import annotations

import re
from collections.abc import Mapping

from opentelemetry.trace import SpanContext, TraceFlags

from .._caller.trace_context import TRACEPARENT, span_context
from .names import TraceResult

_USUAL = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
"""What nearly all traceparents are.  OpenTelemetry judges the others, which takes it ten times as long."""


def origin_span(carrier: Mapping[str, str]) -> SpanContext | None:
    """The span's context, or None when there is none or it is not valid."""
    usual = None if "tracestate" in carrier else _USUAL.fullmatch(carrier.get(TRACEPARENT, ""))
    if usual is None:
        return span_context(carrier)
    trace_id, span_id, flags = usual.groups()
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def trace_result(carrier: Mapping[str, str]) -> TraceResult:
    """What the span's context is worth."""
    traceparent = carrier.get(TRACEPARENT)
    if traceparent is None:
        return TraceResult.ABSENT
    usual = _USUAL.fullmatch(traceparent)
    if usual is not None:
        flags = int(usual[3], 16)
    else:
        origin = span_context(carrier)
        if origin is None:
            return TraceResult.INVALID
        flags = origin.trace_flags
    return TraceResult.CONTINUED if flags & TraceFlags.SAMPLED else TraceResult.UNSAMPLED
