"""Configuration: puts settings, Prometheus registry, tracer provider, observers and refresh hook together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Unpack

from opentelemetry.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry

from ._caller.headers import header_policy
from ._caller.token import AccessToken
from ._runtime import Runtime, configuring, make_default_with, use_runtime
from ._snapshot.codec import make_codec
from ._submit.docket_messages import keep_baggage_out
from ._worker.credential import RefreshHook, checked_hook
from ._worker.unrestored import watch_unrestored_runs
from .errors import ConfigurationError, InvalidType
from .settings import ENVIRONMENT_PREFIX, Settings, SettingsOverrides, load_settings, tell_misspelt
from .telemetry.logs import LogObserver
from .telemetry.metrics import PrometheusObserver
from .telemetry.observe import docket_seen
from .telemetry.observers import Observer, Observers, checked_observers, logger
from .telemetry.tracing import TracingObserver

_made: list[Observer] = []
"""taskctx's own observers in use; their metrics are registered."""


def configure(
    *,
    registry: CollectorRegistry = REGISTRY,
    tracer_provider: TracerProvider | None = None,
    observers: Sequence[Observer] = (),
    docket_names: Iterable[str] = (),
    refresh_token: Callable[[AccessToken], Awaitable[object]] | None = None,
    **settings: Unpack[SettingsOverrides],
) -> Settings:
    """Configure taskctx; this replaces the earlier configuration.  It is optional: the defaults are sensible.

    Call it at the start of the program, before the first task is submitted or run.

    Args:
        registry: the prometheus_client registry for the metrics.
        tracer_provider: the provider of the spans; by default OpenTelemetry's global provider.
        observers: your own observers, in addition to those for metrics, spans and logs.
        docket_names: the names of dockets whose series are created, at 0, before this process first uses these dockets.
        refresh_token: an async function that replaces a token that expired in the queue, before the task runs.  It
            takes the expired token and returns a new one (any object with the attributes of
            :class:`taskctx.AccessToken`), or None when there is none.  It runs with an anonymous caller, on every
            attempt, for at most ``refresh_timeout`` seconds; of its exceptions only the type is logged.
        settings: the fields of :class:`taskctx.Settings`; they override the ``TASKCTX_*`` variables.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a setting has no valid value; the message names the setting and never quotes the value.
        InvalidType: an argument has the wrong type; ``refresh_token`` must be async.
    """
    try:
        loaded = load_settings(**settings)
    finally:
        # error reporters send the locals of every frame that an exception passes: the keys may be among these
        del settings
    check_telemetry(registry, tracer_provider)
    more, names = checked_observers(observers), [docket_names] if isinstance(docket_names, str) else list(docket_names)
    checked_hook(refresh_token)
    with configuring:
        _close_observers()
        use_runtime(make_runtime(loaded, [*_make_observers(loaded, registry, tracer_provider), *more], refresh_token))
    for name in names:
        docket_seen(name)
    return loaded


def make_runtime(settings: Settings, observers: Iterable[Observer], refresh_token: RefreshHook | None) -> Runtime:
    """The runtime for these settings."""
    # not at import: most programs set up logging later, and would not see the line
    tell_misspelt(ENVIRONMENT_PREFIX, Settings.model_fields)
    return Runtime(
        settings=settings,
        codec=make_codec(settings.keyring, accept_plaintext=settings.accept_plaintext),
        may_travel=header_policy(settings.headers_allow, settings.denied_headers),
        observers=Observers(observers),
        refresh_token=refresh_token,
    )


def check_telemetry(registry: object, tracer_provider: object) -> None:
    """Check the types of a registry and a tracer provider; None means OpenTelemetry's global provider.

    Raises:
        InvalidType: one of the arguments has another type.
    """
    if not isinstance(registry, CollectorRegistry):
        raise InvalidType(f"registry must be a prometheus_client.CollectorRegistry, not {type(registry).__name__}")
    if tracer_provider is not None and not isinstance(tracer_provider, TracerProvider):
        raise InvalidType(
            f"tracer_provider must be an opentelemetry.trace.TracerProvider, not {type(tracer_provider).__name__}"
        )


def make_observers(
    settings: Settings, registry: CollectorRegistry = REGISTRY, tracer_provider: TracerProvider | None = None
) -> list[Observer]:
    """The observers for these settings.  The spans' observer comes first, so that metrics find the current span."""
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
        except OSError as error:
            logger.warning(
                "the directory in PROMETHEUS_MULTIPROC_DIR cannot be used (%s): taskctx counts nothing in this "
                "process. Make the directory before the process starts, or unset the variable",
                error.strerror,
            )
    observers.append(LogObserver())
    return observers


def install_defaults() -> None:
    """Configure the defaults at import, like :func:`configure` without arguments.

    The series must exist at 0 from the start.  A setting that is not valid is reported at the first use, not here: the
    program may still call ``configure``.
    """
    keep_baggage_out()
    make_default_with(_default_runtime)
    watch_unrestored_runs()
    with suppress(ConfigurationError), configuring:
        _make_observers(load_settings(), REGISTRY, None)


def _default_runtime() -> Runtime:
    settings = load_settings()
    return make_runtime(settings, _made or _make_observers(settings, REGISTRY, None), None)


def _make_observers(
    settings: Settings, registry: CollectorRegistry, tracer_provider: TracerProvider | None
) -> list[Observer]:
    _made[:] = make_observers(settings, registry, tracer_provider)
    return _made


def _close_observers() -> None:
    for observer in _made:
        if isinstance(observer, PrometheusObserver):
            observer.close()
    _made.clear()
