"""Configuring taskctx for the length of a test."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

from .. import Observer, Settings
from .._worker.refresh import RefreshHook, checked_hook, current_refresh_hook, use_refresh_hook
from ..settings import SettingsOverrides, current_settings, load_settings, use_settings
from ..telemetry.arguments import check_registry, check_tracer_provider
from ..telemetry.metrics import PrometheusObserver
from ..telemetry.observe import checked_observers, current_observers, use_observers
from ..telemetry.tracing import TracingObserver


@contextmanager
def configured(
    *,
    registry: CollectorRegistry | None = None,
    tracer_provider: TracerProvider | None = None,
    observers: Sequence[Observer] = (),
    refresh_token: RefreshHook | None = None,
    **settings: Unpack[SettingsOverrides],
) -> Generator[Settings]:
    """Configure taskctx for the length of a ``with`` block; afterwards all is as it was.

    ::

        with configured(on_restore_failure="fail"):
            run = await run_as_worker(make_report, failure=Reason.MISSING)(42)

    What is not given stays as it is, so blocks can be nested, and the fixtures ``taskctx_metrics`` and
    ``taskctx_spans`` are such blocks.  A call of :func:`taskctx.configure` within the block, by an application that
    starts there, takes its place until the block ends.

    Args:
        registry: the prometheus_client registry to count in.
        tracer_provider: makes the spans.
        observers: more observers.
        refresh_token: asked for a new token in place of an expired one, as with :func:`taskctx.configure`.
        settings: the fields of :class:`taskctx.Settings`.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a setting has no valid value; named, never quoted.
        InvalidType: an argument is of the wrong type; ``refresh_token`` must be async.
    """
    checked_hook(refresh_token)
    check_tracer_provider(tracer_provider)
    if registry is not None:
        check_registry(registry)
    more = checked_observers(observers)
    settings_before, observers_before, hook_before = current_settings(), current_observers(), current_refresh_hook()
    given: dict[str, Any] = {name: getattr(settings_before, name) for name in settings_before.model_fields_set}
    loaded = load_settings(**(given | dict(settings)))
    use_settings(loaded)
    use_observers([*_observers(loaded, registry, tracer_provider), *more])
    use_refresh_hook(refresh_token or hook_before)
    try:
        yield loaded
    finally:
        use_settings(settings_before)
        use_observers(observers_before)
        use_refresh_hook(hook_before)


def _observers(
    settings: Settings, registry: CollectorRegistry | None, tracer_provider: TracerProvider | None
) -> list[Observer]:
    """Those in use, or the test's own in their place.  Spans come first, so that metrics find the current one."""
    used = current_observers()
    tracing: list[Observer] = [observer for observer in used if isinstance(observer, TracingObserver)]
    metrics: list[Observer] = [observer for observer in used if isinstance(observer, PrometheusObserver)]
    others = [observer for observer in used if not isinstance(observer, (TracingObserver, PrometheusObserver))]
    if tracer_provider is not None:
        tracing = [TracingObserver(tracer_provider)]
    if registry is not None:
        metrics = [PrometheusObserver(settings, registry)]
    return [*(tracing if settings.tracing else ()), *(metrics if settings.metrics else ()), *others]
