"""What ``configure`` is given to count and trace with, checked before it takes the place of anything."""

from __future__ import annotations

from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

from ..errors import InvalidType


def check_registry(registry: object) -> None:
    """See that metrics can be registered there.

    Raises:
        InvalidType: they cannot.
    """
    if not isinstance(registry, CollectorRegistry):
        raise InvalidType(f"registry must be a prometheus_client.CollectorRegistry, not {type(registry).__name__}")


def check_tracer_provider(provider: object) -> None:
    """See that it makes tracers; None is OpenTelemetry's global one, which does.

    Raises:
        InvalidType: it does not.
    """
    if provider is not None and not isinstance(provider, TracerProvider):
        raise InvalidType(
            f"tracer_provider must be an opentelemetry.trace.TracerProvider, not {type(provider).__name__}"
        )
