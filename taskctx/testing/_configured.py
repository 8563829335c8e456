"""Configures taskctx for the length of a test."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Unpack

from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

from .. import InvalidArgument, Observer, Settings
from .._caller.block import block
from .._configure import check_telemetry, make_runtime
from .._runtime import Runtime, runtime, use_runtime
from .._worker.credential import RefreshHook, checked_hook
from ..settings import SettingsOverrides, load_settings
from ..telemetry.metrics import PrometheusObserver
from ..telemetry.observers import checked_observers
from ..telemetry.tracing import TracingObserver


@block
def configured(
    *,
    registry: CollectorRegistry | None = None,
    tracer_provider: TracerProvider | None = None,
    observers: Sequence[Observer] = (),
    refresh_token: RefreshHook | None = None,
    **settings: Unpack[SettingsOverrides],
) -> Generator[Settings]:
    """Configure taskctx for the length of a ``with`` block; afterwards the earlier configuration is in force again.

    ::

        with configured(on_restore_failure="fail"):
            run = await run_as_worker(make_report, failure=Reason.MISSING)(42)

    An argument that is not given keeps its value, so blocks can be nested, and end in any order; the fixtures
    ``taskctx_metrics`` and ``taskctx_spans`` are such blocks.  When an application in the block calls
    :func:`taskctx.configure`, that configuration is in force until the block ends.  The metrics that it took out of
    their registry stay out.

    Args:
        registry: the prometheus_client registry for the metrics.  They are this block's alone, in prometheus_client's
            multiprocess mode too.
        tracer_provider: the provider of the spans.
        observers: more observers.
        refresh_token: replaces an expired token, see :func:`taskctx.configure`.
        settings: the fields of :class:`taskctx.Settings`.

    Returns:
        The settings in force.

    Raises:
        ConfigurationError: a setting has no valid value; the message names the setting and never quotes the value.
        InvalidArgument: the registry has taskctx's metrics already.
        InvalidType: an argument has the wrong type; ``refresh_token`` must be async.
    """
    checked_hook(refresh_token)
    check_telemetry(CollectorRegistry() if registry is None else registry, tracer_provider)
    more, before = checked_observers(observers), runtime()
    given: dict[str, Any] = {name: getattr(before.settings, name) for name in before.settings.model_fields_set}
    loaded = load_settings(**(given | dict(settings)))
    observed = [*_observers(before.observers.observers, loaded, registry, tracer_provider), *more]
    use_runtime(make_runtime(loaded, observed, refresh_token or before.refresh_token))
    begun = _Begun(before)
    _begun.append(begun)
    try:
        yield loaded
    finally:
        _end(begun)


@dataclass(slots=True, eq=False)
class _Begun:
    """A block that has begun, with what is in force again when it ends."""

    before: Runtime


_begun: Final[list[_Begun]] = []


def _end(block: _Begun) -> None:
    """Put in force what was before a block; where another block has begun since, that block does so at its end."""
    place = _begun.index(block)
    if block is _begun[-1]:
        use_runtime(block.before)
    else:
        _begun[place + 1].before = block.before
    del _begun[place]


def _observers(
    used: Sequence[Observer],
    settings: Settings,
    registry: CollectorRegistry | None,
    tracer_provider: TracerProvider | None,
) -> list[Observer]:
    """The observers in use, or the test's own instead.  Spans come first, so that metrics find the current span."""
    tracing: list[Observer] = [observer for observer in used if isinstance(observer, TracingObserver)]
    metrics: list[Observer] = [observer for observer in used if isinstance(observer, PrometheusObserver)]
    others = [observer for observer in used if not isinstance(observer, (TracingObserver, PrometheusObserver))]
    if tracer_provider is not None:
        tracing = [TracingObserver(tracer_provider)]
    if registry is not None:
        metrics = [_counting_into(registry, settings)]
    return [*(tracing if settings.tracing else ()), *(metrics if settings.metrics else ()), *others]


def _counting_into(registry: CollectorRegistry, settings: Settings) -> PrometheusObserver:
    try:
        # the files of the multiprocess mode hold the counts of earlier tests too
        return PrometheusObserver(settings, registry, several_processes=False)
    except ValueError:
        raise InvalidArgument(
            "the registry has metrics named taskctx_* already, of an earlier block or of taskctx.configure: give "
            "configured a new one, prometheus_client.CollectorRegistry()"
        ) from None
