"""What taskctx relies on in OpenTelemetry's API beyond what it documents."""

from __future__ import annotations

import logging
import sys

import pytest
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace import TraceState

from tests.helpers import run_well

SCRIPT = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
before = trace._TRACER_PROVIDER
provider = TracerProvider()
trace.set_tracer_provider(provider)
print(before is None, trace._TRACER_PROVIDER is provider)
"""


def test_the_global_provider_is_none_until_it_is_set() -> None:
    """Else ``_caller.trace_context`` cannot see whether the process makes spans."""
    # a process of its own: the global provider is set once in a process
    done = run_well([sys.executable, "-c", SCRIPT])
    assert done.stdout.split() == ["True", "True"], "OpenTelemetry keeps its global tracer provider elsewhere now"


def test_refused_baggage_and_tracestate_are_quoted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Once neither is, ``_caller.trace_context`` need not keep them quiet."""
    with caplog.at_level(logging.WARNING):
        W3CBaggagePropagator().extract({"baggage": "of-baggage"})
        TraceState([("VENDOR!", "of-tracestate")])
    assert "of-baggage" in caplog.text
    assert "of-tracestate" in caplog.text
