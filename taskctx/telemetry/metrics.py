"""Prometheus metrics: one observer that counts operations and events.

Every label set is created at 0, because Prometheus's ``increase()`` does not see a series that is born at 1.
Nothing that came over the wire becomes a label value.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Generic, TypeVar

import docket
from opentelemetry import trace
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from .._caller.trace_context import TRACEPARENT, span_context
from .._snapshot.record import READABLE_SCHEMAS, SCHEMA_VERSION
from .._version import __version__
from ..errors import Reason
from ..operations import (
    Capture,
    CryptoOperation,
    DocketSeen,
    Event,
    Operation,
    Outcome,
    RegistryEviction,
    RegistryLookup,
    RegistrySize,
    Restore,
    Save,
)
from ..settings import Settings, current_settings
from . import names
from .capture_fields import FieldCounts, ToldCounter
from .names import OTHER_TASK, UNKNOWN_KEY, Metric, TraceResult
from .observe import Observer

CAPTURE_OUTCOMES = (Outcome.OK, Outcome.PARTIAL, Outcome.EMPTY, Outcome.FAILED)
SAVE_OUTCOMES = (Outcome.OK, Outcome.SKIPPED, Outcome.FAILED)
RESTORE_OUTCOMES = (Outcome.OK, Outcome.DEGRADED, Outcome.FAILED, Outcome.SKIPPED)
REGISTRIES = ("session", "server")
LOOKUP_RESULTS = ("hit", "miss", "dead")
EVICTION_CAUSES = ("dead", "capacity", "removed")

M = TypeVar("M", bound=MetricWrapperBase)


class _Children(Generic[M]):
    """The children of a metric family by their labels, each looked up once: ``labels()`` takes a lock every time."""

    def __init__(self, family: M) -> None:
        self._family = family
        self._known: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        child = self._known.get(labels)
        if child is None:
            child = self._known[labels] = self._family.labels(*labels)
        return child


class PrometheusObserver(Observer):
    """Counts into a prometheus_client registry; several in one process need a registry each."""

    def __init__(self, settings: Settings, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._families: list[MetricWrapperBase] = []
        self._task_names: set[str] = set()
        try:
            self._create()
        except ValueError:
            # a name is taken: leave the registry as it was found
            self.close()
            raise
        self._set_constants(settings)
        self._start_at_zero()

    def close(self) -> None:
        """Take the metrics out of the registry."""
        for family in self._families:
            self._registry.unregister(family)
        self._families.clear()

    def on_end(self, operation: Operation, state: None) -> None:
        match operation:
            case Capture():
                self._captured(operation)
            case Save():
                self._saved(operation)
            case Restore():
                self._restored(operation)
            case _:
                pass

    def on_event(self, event: Event) -> None:
        match event:
            case CryptoOperation(operation, key_id, succeeded):
                outcome = Outcome.OK if succeeded else Outcome.FAILED
                self._crypto_operations(operation, key_id or UNKNOWN_KEY, outcome).inc()
            case RegistryLookup(registry, result):
                self._registry_lookups(registry, result).inc()
            case RegistryEviction(registry, cause, count):
                self._registry_evictions(registry, cause).inc(count)
            case RegistrySize(registry, entries, capacity):
                self._registry_entries(registry).set(entries)
                self._registry_capacity(registry).set(capacity)
            case DocketSeen(docket_name, docket_tasks):
                self._set_constants(current_settings())
                self._docket_at_zero(docket_name, docket_tasks)

    def _captured(self, capture: Capture) -> None:
        self._captures(capture.docket_name, capture.outcome).inc()
        self._capture_duration(capture.docket_name).observe(capture.duration)
        if capture.credential_ttl is not None:
            self._credential_ttl_at_capture.observe(max(0.0, capture.credential_ttl))
        self._capture_fields.add(capture.fields)

    def _saved(self, save: Save) -> None:
        exemplar = _exemplar()
        self._saves(save.outcome).inc(save.count, exemplar)
        self._save_duration.observe(save.duration, exemplar)
        if save.reason is not None:
            self._save_failures(save.reason).inc(save.count, exemplar)
        for size in save.sizes:
            self._snapshot_size.observe(size)

    def _restored(self, restore: Restore) -> None:
        exemplar = _exemplar()
        self._restores(restore.docket_name, restore.outcome).inc(1, exemplar)
        if restore.outcome is Outcome.SKIPPED:
            return
        self._restore_duration.observe(restore.duration, exemplar)
        if restore.reason is not None:
            self._restore_failures(restore.docket_name, restore.reason).inc(1, exemplar)
            self._task_restore_failures(self._task_label(restore.docket_task)).inc(1, exemplar)
        if restore.age is not None:
            self._snapshot_age.observe(restore.age, exemplar)
        if restore.ttl and restore.ttl_remaining is not None:
            self._snapshot_ttl_remaining.observe(restore.ttl_remaining / restore.ttl, exemplar)
        if restore.credential_ttl is not None:
            self._credential_ttl_remaining.observe(max(0.0, restore.credential_ttl), exemplar)
        if restore.schema_version is not None:
            self._trace_contexts(_trace_result(restore)).inc()

    def _task_label(self, docket_task: str) -> str:
        return docket_task if docket_task in self._task_names else OTHER_TASK

    def _create(self) -> None:
        self._captures = _Children(self._family(Counter, names.CAPTURES))
        self._capture_fields = FieldCounts(self._family(ToldCounter, names.CAPTURE_FIELDS), at_once=_MULTIPROCESS)
        self._capture_duration = _Children(self._family(Histogram, names.CAPTURE_DURATION))
        self._credential_ttl_at_capture = self._family(Histogram, names.CREDENTIAL_TTL_AT_CAPTURE)
        self._saves = _Children(self._family(Counter, names.SAVES))
        self._save_failures = _Children(self._family(Counter, names.SAVE_FAILURES))
        self._save_duration = self._family(Histogram, names.SAVE_DURATION)
        self._snapshot_size = self._family(Histogram, names.SNAPSHOT_SIZE)
        self._snapshot_size_limit = self._family(Gauge, names.SNAPSHOT_SIZE_LIMIT)
        self._restores = _Children(self._family(Counter, names.RESTORES))
        self._restore_failures = _Children(self._family(Counter, names.RESTORE_FAILURES))
        self._task_restore_failures = _Children(self._family(Counter, names.TASK_RESTORE_FAILURES))
        self._restore_duration = self._family(Histogram, names.RESTORE_DURATION)
        self._snapshot_age = self._family(Histogram, names.SNAPSHOT_AGE)
        self._snapshot_ttl_remaining = self._family(Histogram, names.SNAPSHOT_TTL_REMAINING)
        self._snapshot_ttl = self._family(Gauge, names.SNAPSHOT_TTL)
        self._credential_ttl_remaining = self._family(Histogram, names.CREDENTIAL_TTL_REMAINING)
        self._registry_lookups = _Children(self._family(Counter, names.REGISTRY_LOOKUPS))
        self._registry_entries = _Children(self._family(Gauge, names.REGISTRY_ENTRIES))
        self._registry_capacity = _Children(self._family(Gauge, names.REGISTRY_CAPACITY))
        self._registry_evictions = _Children(self._family(Counter, names.REGISTRY_EVICTIONS))
        self._trace_contexts = _Children(self._family(Counter, names.TRACE_CONTEXTS))
        self._crypto_operations = _Children(self._family(Counter, names.CRYPTO_OPERATIONS))
        self._encryption_key_info = _Children(self._family(Gauge, names.ENCRYPTION_KEY_INFO))
        self._schema_version = _Children(self._family(Gauge, names.SCHEMA_VERSION))
        self._build_info = _Children(self._family(Gauge, names.BUILD_INFO))

    def _family(self, kind: type[M], metric: Metric) -> M:
        options: dict[str, object] = {"registry": self._registry, "labelnames": metric.labels}
        if metric.buckets:
            options["buckets"] = metric.buckets
        if metric.kind == "gauge":
            options["multiprocess_mode"] = metric.multiprocess
        family = kind(metric.name, metric.description, **options)  # pyright: ignore[reportArgumentType]
        self._families.append(family)
        return family

    def _set_constants(self, settings: Settings) -> None:
        self._snapshot_size_limit.set(settings.max_snapshot_bytes)
        self._snapshot_ttl.set(settings.pending_ttl)
        self._registry_capacity("session").set(settings.session_registry_size)
        self._registry_capacity("server").set(settings.server_registry_size)
        self._schema_version("write").set(SCHEMA_VERSION)
        self._schema_version("read_min").set(READABLE_SCHEMAS[0])
        self._schema_version("read_max").set(READABLE_SCHEMAS[-1])
        self._set_keys(settings)
        self._build_info(__version__, platform.python_version(), docket.__version__).set(1)

    def _set_keys(self, settings: Settings) -> None:
        if settings.keyring is None:
            return
        for key_id in settings.keyring.key_ids:
            role = "primary" if key_id == settings.keyring.primary else "secondary"
            self._encryption_key_info(key_id, role).set(1)
            for operation in ("seal", "open") if role == "primary" else ("open",):
                _each(self._crypto_operations, (Outcome.OK, Outcome.FAILED), operation, key_id)

    def _start_at_zero(self) -> None:
        _each(self._saves, SAVE_OUTCOMES)
        _each(self._save_failures, Reason)
        _each(self._trace_contexts, TraceResult)
        self._crypto_operations("open", UNKNOWN_KEY, Outcome.FAILED)
        self._task_restore_failures(OTHER_TASK)
        for registry in REGISTRIES:
            self._registry_entries(registry)
            for result in LOOKUP_RESULTS:
                self._registry_lookups(registry, result)
            for cause in EVICTION_CAUSES:
                self._registry_evictions(registry, cause)

    def _docket_at_zero(self, docket_name: str, docket_tasks: Iterable[str]) -> None:
        self._capture_duration(docket_name)
        _each(self._captures, CAPTURE_OUTCOMES, docket_name)
        _each(self._restores, RESTORE_OUTCOMES, docket_name)
        _each(self._restore_failures, Reason, docket_name)
        for name in docket_tasks:
            if len(self._task_names) < names.MAX_TASK_NAMES:
                self._task_names.add(name)
                self._task_restore_failures(name)


def _each(children: _Children[Counter], values: Iterable[str], *before: str) -> None:
    for value in values:
        children(*before, value)


_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""prometheus_client decides at import too."""


def _exemplar() -> dict[str, str] | None:
    """The current trace, when it is sampled and the exposition can show it."""
    if _MULTIPROCESS:
        return None
    current = trace.get_current_span().get_span_context()
    if not (current.is_valid and current.trace_flags.sampled):
        return None
    return {"trace_id": trace.format_trace_id(current.trace_id), "span_id": trace.format_span_id(current.span_id)}


def _trace_result(restore: Restore) -> TraceResult:
    if TRACEPARENT not in restore.origin:
        return TraceResult.ABSENT
    origin = span_context(restore.origin)
    if origin is None:
        return TraceResult.INVALID
    return TraceResult.CONTINUED if origin.trace_flags.sampled else TraceResult.UNSAMPLED
