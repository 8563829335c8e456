"""Putting it together: settings, a Prometheus registry, a tracer provider."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Unpack

from opentelemetry.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry

from ._observe import Observer, default_observers, docket_seen, use_observers
from .errors import ConfigurationError
from .settings import Settings, SettingsOverrides, load_settings, use_settings
from .telemetry import PrometheusObserver, make_observers

_lock = threading.Lock()
_installed: list[PrometheusObserver] = []


def configure(
    *,
    registry: CollectorRegistry = REGISTRY,
    tracer_provider: TracerProvider | None = None,
    observers: Sequence[Observer] = (),
    docket_names: Iterable[str] = (),
    **settings: Unpack[SettingsOverrides],
) -> Settings:
    """Configure taskctx, in place of whatever was configured before.  Nothing needs it: the defaults are sensible.

    Call it at start, before the first task is submitted or run.

    Args:
        registry: the prometheus_client registry to count in.
        tracer_provider: makes the spans; OpenTelemetry's global provider by default.
        observers: more observers, beside the metrics, spans and logs.
        docket_names: dockets whose series are to exist, at 0, before this process first uses them.
        settings: the fields of :class:`taskctx.Settings`, over the ``TASKCTX_*`` variables.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a setting has no valid value; named, never quoted.
    """
    loaded = load_settings(**settings)
    with _lock:
        _uninstall()
        use_settings(loaded)
        use_observers([*_install(loaded, registry, tracer_provider), *observers])
    for name in docket_names:
        docket_seen(name)
    return loaded


def install_defaults() -> None:
    """As :func:`configure` without arguments, at import.

    Series must exist, at 0, before anything happens.  The settings themselves stay unread until they are needed, and
    one that is not valid is reported then, not here: the program may be about to call ``configure``.
    """
    default_observers(_default_observers)
    with suppress(ConfigurationError):
        use_observers(_default_observers())


def _default_observers() -> list[Observer]:
    with _lock:
        _uninstall()
        return _install(load_settings(), REGISTRY, None)


def _install(settings: Settings, registry: CollectorRegistry, tracer_provider: TracerProvider | None) -> list[Observer]:
    made = make_observers(settings, registry, tracer_provider)
    _installed.extend(observer for observer in made if isinstance(observer, PrometheusObserver))
    return made


def _uninstall() -> None:
    while _installed:
        _installed.pop().close()
