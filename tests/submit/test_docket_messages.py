"""What Docket's own messages hold of the submitter's trace, alone and in a batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from docket.instrumentation import message_setter
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.textmap import DefaultSetter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from taskctx._caller.trace_context import BAGGAGE, TRACEPARENT, message_carrier
from taskctx._submit.docket_messages import carrying

UNSAMPLED = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0)))
OWN = {TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", BAGGAGE: "tenant=acme"}


@contextmanager
def inside(span: trace.Span) -> Generator[None]:
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


def message(key: str) -> dict[bytes, bytes]:
    """As Docket makes one of a task, here and now."""
    made = {b"key": key.encode()}
    propagate.inject(made, setter=message_setter)
    del made[b"key"]
    return made


def test_a_message_holds_the_current_trace_and_no_baggage() -> None:
    """Docket injects both."""
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        with inside(UNSAMPLED):
            assert set(message("a")) == {b"traceparent"}
    finally:
        context.detach(token)


def test_in_a_batch_each_message_holds_its_own() -> None:
    """A message has its submitter's trace context, not the current one, and none if its submitter has no trace."""
    with inside(UNSAMPLED), carrying({"a": OWN, "b": {}}):
        assert message("a") == {b"traceparent": OWN[TRACEPARENT].encode()}
        assert message("b") == message("unknown") == {}


def test_a_submitter_that_is_not_recorded_travels_with_others() -> None:
    """Its message gets its own trace context, as Docket would inject it."""
    with inside(UNSAMPLED):
        carrier = message_carrier()
    assert carrier is not None
    assert carrier[TRACEPARENT] == f"00-{1:032x}-{2:016x}-00"


def test_a_submitter_that_is_recorded_goes_alone() -> None:
    """Docket itself injects the context, so that Docket's span is a child of the submitter's."""
    with trace.get_tracer("test").start_as_current_span("request"):
        assert message_carrier() is None


def test_outside_of_a_trace_docket_decides() -> None:
    """Where an SDK is, as in these tests, a submission begins a trace, which may be recorded."""
    assert message_carrier() is None


class _Tenants(W3CBaggagePropagator):
    """A propagator of the user's own, with a header of its own."""

    @property
    def fields(self) -> set[str]:
        return {"x-tenant"}

    def inject(self, carrier: object, context: context.Context | None = None, setter: object = DefaultSetter()) -> None:
        """Injects nothing here."""


def test_other_propagators_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may take more from where they are called than a batch has."""
    monkeypatch.setattr(propagate, "get_global_textmap", _Tenants)
    with inside(UNSAMPLED):
        assert message_carrier() is None
