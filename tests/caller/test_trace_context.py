"""W3C trace context and baggage, in and out of OpenTelemetry's current context."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskctx._caller.resets import Resets
from taskctx._caller.trace_context import (
    clear_baggage,
    current_baggage,
    current_trace,
    current_trace_id,
    parent_context,
    resume_instrumentation,
    span_context,
    suppress_instrumentation,
    use_baggage,
    use_remote_context,
)
from tests.secrets import MARKER, secret

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"

TOKEN = st.text(st.sampled_from("abcXYZ019-_.~!#$"), min_size=1, max_size=10)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def with_baggage(**entries: object) -> context.Context:
    current = context.Context()
    for key, value in entries.items():
        current = baggage.set_baggage(key, value, current)
    return current


@given(st.dictionaries(TOKEN, TEXT, max_size=8))
@settings(deadline=None)
def test_baggage_survives_its_carrier(entries: dict[str, str]) -> None:
    """Values of any text do; W3C strips the blanks around them."""
    token = context.attach(with_baggage(**entries))
    try:
        carrier, dropped = current_baggage(("*",))
    finally:
        context.detach(token)
    assert not dropped
    with Resets() as resets:
        use_baggage(carrier, resets)
        assert dict(baggage.get_all()) == {name: value.strip() for name, value in entries.items()}
    assert baggage.get_all() == {}


def test_baggage_that_may_not_travel_is_told() -> None:
    """The carrier holds what the patterns name."""
    token = context.attach(with_baggage(tenant="acme", Team="blue", secret=secret("baggage")))
    try:
        assert current_baggage(("tenant", "team")) == ({"baggage": "tenant=acme,Team=blue"}, True)
        assert current_baggage(()) == ({}, True)
    finally:
        context.detach(token)
    assert current_baggage(("*",)) == ({}, False)


@pytest.mark.parametrize(
    ("entries", "carried"),
    [
        pytest.param({f"k{number:02}": "v" * 96 for number in range(90)}, 81, id="8192 bytes"),
        pytest.param({f"k{number:02}": "é" * 16 for number in range(90)}, 81, id="8192 bytes of quoted text"),
        pytest.param({f"k{number:03}": "v" for number in range(200)}, 180, id="180 members"),
        pytest.param({"long": "v" * 5_000, "short": "v"}, 1, id="4096 bytes a member"),
        pytest.param({"": "of nothing", "named": "v"}, 1, id="a name"),
    ],
)
def test_baggage_beyond_a_limit_is_dropped_and_all_the_rest_arrives(entries: dict[str, str], carried: int) -> None:
    """By every OpenTelemetry that is allowed: up to 1.41 its propagator writes more than it reads, which is then lost whole."""
    token = context.attach(with_baggage(**entries))
    try:
        carrier, dropped = current_baggage(("*",))
    finally:
        context.detach(token)
    assert dropped
    with Resets() as resets:
        use_baggage(carrier, resets)
        found = dict(baggage.get_all())
    assert len(found) == carried
    assert found.items() <= entries.items()


def test_baggage_replaces_the_baggage_that_there_was() -> None:
    """Nothing is inherited; and behind the block it is there again."""
    token = context.attach(with_baggage(tenant="of the worker", team="of the worker"))
    try:
        with Resets() as resets:
            use_baggage({"baggage": "tenant=acme"}, resets)
            assert dict(baggage.get_all()) == {"tenant": "acme"}
            with Resets() as inner:
                clear_baggage(inner)
                assert dict(baggage.get_all()) == {}
            assert dict(baggage.get_all()) == {"tenant": "acme"}
        assert baggage.get_baggage("tenant") == "of the worker"
    finally:
        context.detach(token)


def test_the_current_span_has_a_carrier() -> None:
    """Outside a span it is empty."""
    assert current_trace() == {}
    assert current_trace_id() is None
    with trace.get_tracer("test").start_as_current_span("request") as span:
        carrier = current_trace()
        assert span_context(carrier) is not None
        assert current_trace_id() == format(span.get_span_context().trace_id, "032x")
        assert carrier["traceparent"].split("-")[1] == current_trace_id()


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
def test_a_span_context_is_read_from_a_carrier(flags: str) -> None:
    """Only the lowest bit says "sampled": level 2 of the standard uses the next one too."""
    found = span_context({"traceparent": TRACEPARENT[:-2] + flags, "tracestate": "vendor=1"})
    assert found is not None
    assert format(found.trace_id, "032x") == TRACE_ID
    assert found.is_remote
    assert found.trace_flags.sampled == (flags in ("01", "03"))
    assert found.trace_state.get("vendor") == "1"


TRACEPARENTS = [
    *(f"00-{TRACE_ID}-{SPAN_ID}-{flags}" for flags in ("00", "01", "02", "03", "ff", "1f", "0", "001", "0g")),
    f"00-{'0' * 32}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-01-more",
    f"01-{TRACE_ID}-{SPAN_ID}-01-more",
    f"01-{TRACE_ID}-{SPAN_ID}-01",
    f"ff-{TRACE_ID}-{SPAN_ID}-01",
    f" 00-{TRACE_ID}-{SPAN_ID}-01\t",
    f"00-{TRACE_ID}-{SPAN_ID}-01\n",
    f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
    "nonsense",
    "",
]


@pytest.mark.parametrize("tracestate", [None, "vendor=1", "not a state"])
@pytest.mark.parametrize("traceparent", TRACEPARENTS)
def test_a_carrier_is_read_as_opentelemetry_reads_it(traceparent: str, tracestate: str | None) -> None:
    """All of it, whether it is asked or not: ids, flags, state, and that it came from elsewhere."""
    carrier = {"traceparent": traceparent} | ({} if tracestate is None else {"tracestate": tracestate})
    read = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    found = span_context(carrier)
    if not read.is_valid:
        assert found is None
        return
    assert found is not None
    assert found == read
    assert found.is_remote
    assert found.trace_state.items() == read.trace_state.items()


@pytest.mark.parametrize(
    "carrier",
    [
        {},
        {"tracestate": "vendor=1"},
        {"traceparent": ""},
        {"traceparent": "nonsense"},
        {"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"},
        {"traceparent": f"00-{TRACE_ID}-0000000000000000-01"},
        {"traceparent": f"ff-{TRACE_ID}-b7ad6b7169203331-01"},
        {"baggage": "tenant=acme"},
    ],
)
def test_a_carrier_without_a_valid_span(carrier: dict[str, str]) -> None:
    """None; and a child of it would be a child of what is current."""
    assert span_context(carrier) is None
    with trace.get_tracer("test").start_as_current_span("request") as span:
        assert trace.get_current_span(parent_context(carrier)) is span


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("traceparent", "tracestate", "baggage"), TEXT)))
@settings(deadline=None)
def test_no_carrier_raises(carrier: dict[str, str]) -> None:
    """Carriers come over the wire."""
    span_context(carrier)
    with Resets() as resets:
        use_baggage(carrier, resets)
    with use_remote_context(carrier):
        assert not trace.get_current_span().is_recording()


def test_a_requests_context_becomes_current() -> None:
    """Where no instrumentation has started a span; and is gone behind the block."""
    with use_remote_context({"traceparent": TRACEPARENT, "baggage": "tenant=acme"}):
        assert current_trace_id() == TRACE_ID
        assert baggage.get_baggage("tenant") == "acme"
    assert current_trace_id() is None
    assert baggage.get_all() == {}


def test_a_span_that_is_current_stays_current() -> None:
    """The instrumentation has read the headers already."""
    carrier = {"traceparent": TRACEPARENT, "baggage": "tenant=acme"}
    with trace.get_tracer("test").start_as_current_span("request") as span, use_remote_context(carrier):
        assert trace.get_current_span() is span
        assert baggage.get_all() == {}


def test_refused_baggage_and_tracestate_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The propagators quote what they refuse; a log is no place for it.  Other people's calls log as ever."""
    bad = {
        "traceparent": TRACEPARENT,
        "tracestate": f"VENDOR!={secret('state')}",
        "baggage": f"no equals sign {secret('baggage')},{'x' * 9_000}={secret('baggage')}",
    }
    with caplog.at_level(logging.DEBUG):
        span_context(bad)
        with use_remote_context(bad), Resets() as resets:
            use_baggage(bad, resets)
        assert caplog.records == []
        assert MARKER not in caplog.text
        logging.getLogger("opentelemetry.baggage.propagation").warning("somebody else's")
        assert [record.message for record in caplog.records] == ["somebody else's"]


def test_our_redis_calls_are_not_instrumented() -> None:
    """Instrumentations ask OpenTelemetry's context for this key."""
    assert not context.get_value(_SUPPRESS_INSTRUMENTATION_KEY)
    suppressed = suppress_instrumentation()
    assert context.get_value(_SUPPRESS_INSTRUMENTATION_KEY)
    resume_instrumentation(suppressed)
    assert not context.get_value(_SUPPRESS_INSTRUMENTATION_KEY)
