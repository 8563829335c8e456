"""Putting it together: settings, a Prometheus registry, a tracer provider."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Unpack, cast

from opentelemetry.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry

from ._caller.token import AccessToken
from ._submit.docket_messages import keep_baggage_out
from ._worker.refresh import checked_hook, use_refresh_hook
from .errors import ConfigurationError, InvalidType
from .settings import Settings, SettingsOverrides, load_settings, use_settings
from .telemetry.arguments import check_registry, check_tracer_provider
from .telemetry.logs import LogObserver
from .telemetry.metrics import PrometheusObserver
from .telemetry.observe import Observer, checked_observers, default_observers, docket_seen, logger, use_observers
from .telemetry.tracing import TracingObserver

_lock = threading.Lock()
_installed: list[PrometheusObserver] = []


def configure(
    *,
    registry: CollectorRegistry = REGISTRY,
    tracer_provider: TracerProvider | None = None,
    observers: Sequence[Observer] = (),
    docket_names: Iterable[str] = (),
    refresh_token: Callable[[AccessToken], Awaitable[object]] | None = None,
    **settings: Unpack[SettingsOverrides],
) -> Settings:
    """Configure taskctx, in place of whatever was configured before.  Nothing needs it: the defaults are sensible.

    Call it at start, before the first task is submitted or run.

    Args:
        registry: the prometheus_client registry to count in.
        tracer_provider: makes the spans; OpenTelemetry's global provider by default.
        observers: more observers, beside the metrics, spans and logs.
        docket_names: dockets whose series are to exist, at 0, before this process first uses them.
        refresh_token: an async function that is asked, before a task runs, for a new token in place of one that expired
            in the queue.  It gets the expired token and returns a new one (any object with the attributes of
            :class:`taskctx.AccessToken`), or None when there is none.  It runs as nobody, on every attempt, for
            ``refresh_timeout`` seconds at most; what it raises is logged by type alone.
        settings: the fields of :class:`taskctx.Settings`, over the ``TASKCTX_*`` variables.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a setting has no valid value; named, never quoted.
        InvalidType: an argument is of the wrong type; ``refresh_token`` must be async.
    """
    loaded = load_settings(**settings)
    check_registry(registry)
    check_tracer_provider(tracer_provider)
    more, names = checked_observers(observers), _checked_names(docket_names)
    checked_hook(refresh_token)
    with _lock:
        _uninstall()
        use_settings(loaded)
        use_refresh_hook(refresh_token)
        use_observers([*_install(loaded, registry, tracer_provider), *more])
    for name in names:
        docket_seen(name)
    return loaded


def _checked_names(docket_names: Iterable[str]) -> list[str]:
    names: Any = docket_names
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidType(f"docket_names must be a sequence of names, not {type(names).__name__}")
    listed = list(docket_names)
    for name in cast("list[object]", listed):
        if not isinstance(name, str):
            raise InvalidType(f"docket_names must hold strings, not {type(name).__name__}")
    return listed


def install_defaults() -> None:
    """As :func:`configure` without arguments, at import.

    Series must exist, at 0, before anything happens.  The settings themselves stay unread until they are needed, and
    one that is not valid is reported then, not here: the program may be about to call ``configure``.
    """
    keep_baggage_out()
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


def make_observers(
    settings: Settings,
    registry: CollectorRegistry = REGISTRY,
    tracer_provider: TracerProvider | None = None,
) -> list[Observer]:
    """The observers that the settings ask for.  Spans come first, so that metrics find the current one."""
    observers: list[Observer] = []
    if settings.tracing:
        observers.append(TracingObserver(tracer_provider))
    if settings.metrics:
        try:
            observers.append(PrometheusObserver(settings, registry))
        except ValueError:
            logger.warning(
                "the Prometheus registry has metrics named taskctx_* already: taskctx counts nothing in this process. "
                "Give it a registry of its own: taskctx.configure(registry=...)"
            )
    observers.append(LogObserver())
    return observers
