"""The submission's span is read as OpenTelemetry reads it, whether it is asked or not."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskctx.telemetry.names import TraceResult
from taskctx.telemetry.origin import origin_span, trace_result

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

TRACEPARENTS = [
    *(f"00-{TRACE}-{SPAN}-{flags}" for flags in ("00", "01", "02", "03", "ff", "1f", "0", "001", "0g")),
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE}-{SPAN}-01-more",
    f"01-{TRACE}-{SPAN}-01-more",
    f"01-{TRACE}-{SPAN}-01",
    f"ff-{TRACE}-{SPAN}-01",
    f" 00-{TRACE}-{SPAN}-01\t",
    f"00-{TRACE}-{SPAN}-01\n",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE[1:]}-{SPAN}-01",
    "nonsense",
    "",
]


@pytest.mark.parametrize("tracestate", [None, "vendor=1", "not a state"])
@pytest.mark.parametrize("traceparent", TRACEPARENTS)
def test_it_is_what_opentelemetry_reads(traceparent: str, tracestate: str | None) -> None:
    """All of it: ids, flags, state, and that it came from elsewhere."""
    carrier = {"traceparent": traceparent} | ({} if tracestate is None else {"tracestate": tracestate})
    read = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    found = origin_span(carrier)
    if not read.is_valid:
        assert found is None
        assert trace_result(carrier) is TraceResult.INVALID
        return
    assert found is not None
    assert found == read
    assert found.is_remote
    assert found.trace_state.items() == read.trace_state.items()
    assert trace_result(carrier) is (TraceResult.CONTINUED if read.trace_flags.sampled else TraceResult.UNSAMPLED)


def test_where_there_is_none() -> None:
    assert origin_span({}) is None
    assert origin_span({"tracestate": "vendor=1"}) is None
    assert trace_result({"baggage": "a=1"}) is TraceResult.ABSENT
