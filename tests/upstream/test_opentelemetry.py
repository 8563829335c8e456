"""What taskctx relies on in OpenTelemetry's API beyond what it documents."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
before = trace._TRACER_PROVIDER
provider = TracerProvider()
trace.set_tracer_provider(provider)
print(before is None, trace._TRACER_PROVIDER is provider)
"""


def test_the_global_provider_is_none_until_it_is_set() -> None:
    """Else ``telemetry.tracing`` no longer sees whether anybody makes spans, and makes none, or all of them."""
    # a process of its own: the global provider is set once in a process
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"], "OpenTelemetry keeps its global tracer provider elsewhere now"
