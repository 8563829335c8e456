"""Prometheus metrics: one observer that counts operations and events.

Every label set is created at 0, because Prometheus's ``increase()`` misses the first increment of a new series.
No data from a client or from Redis becomes a label value.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Final

import docket
from prometheus_client import REGISTRY, CollectorRegistry

from .._caller.trace_context import TRACEPARENT, span_context
from .._runtime import current_settings
from .._snapshot.snapshot import READABLE_SCHEMAS, SCHEMA_VERSION
from .._version import __version__
from ..errors import Reason
from ..operations import (
    FIELDS,
    Capture,
    CommandRefused,
    ContextInherited,
    DocketSeen,
    Event,
    FieldResult,
    NotScheduled,
    Operation,
    Outcome,
    RegistryEviction,
    RegistryLookup,
    RegistrySize,
    Restore,
    Save,
    Sweep,
    UnrestoredRead,
)
from ..settings import Settings
from . import names
from .counting import Counts, Labels, PlainCounts, Series
from .names import DOCKETS_ERROR, OTHER_TASK, UNKNOWN_KEY, TraceResult
from .observers import Counters, EventCounters, OwnObserver
from .shared_counting import DIRECTORY, SharedCounts

CAPTURE_OUTCOMES = (Outcome.OK, Outcome.PARTIAL, Outcome.EMPTY, Outcome.FAILED)
SAVE_OUTCOMES = (Outcome.OK, Outcome.SKIPPED, Outcome.FAILED)
SCHEDULE_FAILURES = (Reason.BACKEND_TIMEOUT, Reason.BACKEND_ERROR, Reason.MALFORMED, DOCKETS_ERROR)
REFUSABLE = ("TIME", "TTL")
RESTORE_OUTCOMES = (Outcome.OK, Outcome.DEGRADED, Outcome.FAILED, Outcome.SKIPPED)
SWEEP_OUTCOMES = (Outcome.OK, Outcome.FAILED)
REGISTRIES = ("session", "server")
LOOKUP_RESULTS = ("hit", "miss", "dead")
EVICTION_CAUSES = ("dead", "capacity", "removed")

MEANT: Final = ("no", "yes")
_NOT_OPENED = (Reason.DECRYPT_UNKNOWN_KEY, Reason.DECRYPT_FAILED)


class PrometheusObserver(OwnObserver):
    """Counts into a prometheus_client registry.  Two observers in one process need two registries."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry = REGISTRY,
        *,
        several_processes: bool = DIRECTORY is not None,
    ) -> None:
        """Raises ValueError where the registry has one of the metrics' names, and OSError where the directory of
        prometheus_client's multiprocess mode cannot be used; the registry is then unchanged.

        ``several_processes``: count together with other processes, in prometheus_client's multiprocess mode.
        """
        self._counts: Counts = (SharedCounts if several_processes else PlainCounts)(names.METRICS, registry)
        self._tasks: set[tuple[str, str]] = set()
        self._find_families()
        self.counters: Counters = {
            Capture: self._captured,
            Save: self._saved,
            Restore: self._restored,
            Sweep: self._swept,
        }
        self.event_counters: EventCounters = {
            RegistryLookup: self._looked_up,
            RegistryEviction: self._evicted,
            RegistrySize: self._sized,
            DocketSeen: self._docket_seen,
            UnrestoredRead: self._read_unrestored,
            ContextInherited: self._inherited,
            NotScheduled: self._not_scheduled,
            CommandRefused: self._command_refused,
        }
        self._set_constants(settings)
        self._start_at_zero()

    def close(self) -> None:
        """Remove the metrics from the registry."""
        self._counts.close()

    def on_end(self, operation: Operation, state: None) -> None:
        self.counters[type(operation)](operation, state)

    def on_event(self, event: Event) -> None:
        self.event_counters[type(event)](event)

    def _captured(self, capture: Capture, state: None) -> None:
        labels = (capture.docket_name,)
        observed = [(self._capture_duration[labels], capture.duration)]
        if capture.credential_ttl is not None:
            observed.append((self._credential_ttl_at_capture[labels], max(0.0, capture.credential_ttl)))
        found = tuple(capture.fields.values())
        counters = [self._captures[capture.docket_name, capture.outcome]]
        counters += self._known_fields.get((capture.docket_name, found)) or self._fields(capture.docket_name, found)
        if capture.is_anonymous:
            counters.append(self._anonymous_submissions[capture.docket_name, MEANT[capture.is_meant]])
        self._counts.add(counters, observed, capture.count)

    def _saved(self, save: Save, state: None) -> None:
        labels = (save.docket_name,)
        counters = [self._saves[save.docket_name, save.outcome]]
        if save.reason is not None:
            counters.append(self._save_failures[save.docket_name, save.reason])
        sizes = zip(repeat(self._snapshot_size[labels]), save.sizes, strict=False)
        observed = [(self._save_duration[labels], save.duration), *sizes]
        if save.sealed_with is not None and save.sizes:
            sealed = self._crypto_operations["seal", save.sealed_with, Outcome.OK]
            if len(save.sizes) == save.count:
                counters.append(sealed)
            else:
                self._counts.add((sealed,), (), len(save.sizes))
        self._counts.add(counters, observed, save.count, traced=True)

    def _restored(self, restore: Restore, state: None) -> None:
        counters = [self._restores[restore.docket_name, restore.outcome]]
        if restore.outcome is Outcome.SKIPPED:
            self._counts.add(counters, traced=True)
            return
        labels = (restore.docket_name,)
        observed = [(self._restore_duration[labels], restore.duration)]
        if restore.reason is not None:
            counters.append(self._restore_failures[restore.docket_name, restore.reason])
            task = (restore.docket_name, restore.docket_task)
            counters.append(self._task_restore_failures[task if task in self._tasks else (task[0], OTHER_TASK)])
        if restore.age is not None:
            observed.append((self._snapshot_age[labels], restore.age))
        if restore.ttl and restore.ttl_remaining is not None:
            observed.append((self._snapshot_ttl_remaining[labels], restore.ttl_remaining / restore.ttl))
        if restore.credential_ttl is not None:
            observed.append((self._credential_ttl_remaining[labels], max(0.0, restore.credential_ttl)))
        if restore.is_sealed:
            outcome = Outcome.FAILED if restore.reason in _NOT_OPENED else Outcome.OK
            counters.append(self._crypto_operations["open", restore.key_id or UNKNOWN_KEY, outcome])
        if restore.schema_version is not None:
            result = _trace_result(restore.origin) if restore.origin else TraceResult.ABSENT
            counters.append(self._trace_contexts[restore.docket_name, result])
        self._counts.add(counters, observed, traced=True)

    def _swept(self, sweep: Sweep, state: None) -> None:
        if sweep.outcome in SWEEP_OUTCOMES:
            self._counts.add((self._sweeps[sweep.docket_name, sweep.outcome],))
        self._counts.add((self._swept_snapshots[sweep.docket_name,],), (), sweep.shortened)

    def _looked_up(self, lookup: RegistryLookup) -> None:
        self._counts.add((self._registry_lookups[lookup.registry, lookup.result],))

    def _evicted(self, eviction: RegistryEviction) -> None:
        self._counts.add((self._registry_evictions[eviction.registry, eviction.cause],), (), eviction.count)

    def _sized(self, size: RegistrySize) -> None:
        self._counts.set(self._registry_entries[size.registry,], size.entries)
        self._counts.set(self._registry_capacity[size.registry,], size.capacity)

    def _inherited(self, _: ContextInherited) -> None:
        self._counts.add((self._inherited_contexts,))

    def _docket_seen(self, seen: DocketSeen) -> None:
        self._set_constants(current_settings())
        self._docket_at_zero(seen.docket_name, seen.docket_tasks)

    def _read_unrestored(self, read: UnrestoredRead) -> None:
        self._counts.add((self._unrestored_reads[read.docket_name,],))

    def _not_scheduled(self, event: NotScheduled) -> None:
        self._counts.add((self._schedule_failures[event.docket_name, event.reason or DOCKETS_ERROR],), (), event.count)

    def _command_refused(self, event: CommandRefused) -> None:
        self._counts.add((self._commands_refused[event.docket_name, event.command],))

    def _fields(self, docket_name: str, found: tuple[frozenset[FieldResult], ...]) -> tuple[Series, ...]:
        """The field counters of a capture.  ``found`` has the results of all fields in their order, or is empty.

        Most captures have the same results, so the counters are cached.
        """
        series = tuple(
            self._capture_fields[docket_name, field, result]
            for field, results in zip(FIELDS, found, strict=False)
            for result in results
        )
        return self._known_fields.setdefault((docket_name, found), series)

    def _find_families(self) -> None:
        family = self._counts.family
        self._captures = family(names.CAPTURES)
        self._anonymous_submissions = family(names.ANONYMOUS_SUBMISSIONS)
        self._capture_fields = family(names.CAPTURE_FIELDS)
        self._capture_duration = family(names.CAPTURE_DURATION)
        self._credential_ttl_at_capture = family(names.CREDENTIAL_TTL_AT_CAPTURE)
        self._saves = family(names.SAVES)
        self._save_failures = family(names.SAVE_FAILURES)
        self._schedule_failures = family(names.SCHEDULE_FAILURES)
        self._commands_refused = family(names.COMMANDS_REFUSED)
        self._save_duration = family(names.SAVE_DURATION)
        self._snapshot_size = family(names.SNAPSHOT_SIZE)
        self._snapshot_size_limit = family(names.SNAPSHOT_SIZE_LIMIT)[()]
        self._restores = family(names.RESTORES)
        self._restore_failures = family(names.RESTORE_FAILURES)
        self._task_restore_failures = family(names.TASK_RESTORE_FAILURES)
        self._unrestored_reads = family(names.UNRESTORED_READS)
        self._restore_duration = family(names.RESTORE_DURATION)
        self._snapshot_age = family(names.SNAPSHOT_AGE)
        self._snapshot_ttl_remaining = family(names.SNAPSHOT_TTL_REMAINING)
        self._snapshot_ttl = family(names.SNAPSHOT_TTL)[()]
        self._credential_ttl_remaining = family(names.CREDENTIAL_TTL_REMAINING)
        self._sweeps = family(names.SWEEPS)
        self._swept_snapshots = family(names.SWEPT_SNAPSHOTS)
        self._registry_lookups = family(names.REGISTRY_LOOKUPS)
        self._registry_entries = family(names.REGISTRY_ENTRIES)
        self._registry_capacity = family(names.REGISTRY_CAPACITY)
        self._registry_evictions = family(names.REGISTRY_EVICTIONS)
        self._trace_contexts = family(names.TRACE_CONTEXTS)
        self._inherited_contexts = family(names.INHERITED_CONTEXTS)[()]
        self._crypto_operations = family(names.CRYPTO_OPERATIONS)
        self._encryption_key_info = family(names.ENCRYPTION_KEY_INFO)
        self._schema_version = family(names.SCHEMA_VERSION)
        self._build_info = family(names.BUILD_INFO)
        self._histograms = (
            self._capture_duration,
            self._credential_ttl_at_capture,
            self._save_duration,
            self._snapshot_size,
            self._restore_duration,
            self._snapshot_age,
            self._snapshot_ttl_remaining,
            self._credential_ttl_remaining,
        )
        self._known_fields: dict[tuple[str, tuple[frozenset[FieldResult], ...]], tuple[Series, ...]] = {}

    def _set_constants(self, settings: Settings) -> None:
        set_gauge = self._counts.set
        set_gauge(self._snapshot_size_limit, settings.max_snapshot_bytes)
        set_gauge(self._snapshot_ttl, settings.pending_ttl)
        set_gauge(self._registry_capacity["session",], settings.session_registry_size)
        set_gauge(self._registry_capacity["server",], settings.server_registry_size)
        set_gauge(self._schema_version["write",], SCHEMA_VERSION)
        set_gauge(self._schema_version["read_min",], READABLE_SCHEMAS[0])
        set_gauge(self._schema_version["read_max",], READABLE_SCHEMAS[-1])
        self._set_keys(settings)
        set_gauge(self._build_info[__version__, platform.python_version(), docket.__version__], 1)

    def _set_keys(self, settings: Settings) -> None:
        if settings.keyring is None:
            return
        for key_id in settings.keyring.key_ids:
            role = "primary" if key_id == settings.keyring.primary else "secondary"
            self._counts.set(self._encryption_key_info[key_id, role], 1)
            for operation in ("seal", "open") if role == "primary" else ("open",):
                _each(self._crypto_operations, (Outcome.OK, Outcome.FAILED), operation, key_id)

    def _start_at_zero(self) -> None:
        _each(self._crypto_operations, (Outcome.FAILED,), "open", UNKNOWN_KEY)
        for registry in REGISTRIES:
            _each(self._registry_entries, (registry,))
            _each(self._registry_lookups, LOOKUP_RESULTS, registry)
            _each(self._registry_evictions, EVICTION_CAUSES, registry)

    def _docket_at_zero(self, docket_name: str, docket_tasks: Iterable[str]) -> None:
        for histogram in self._histograms:
            _each(histogram, (docket_name,))
        _each(self._captures, CAPTURE_OUTCOMES, docket_name)
        _each(self._anonymous_submissions, MEANT, docket_name)
        for field in FIELDS:
            _each(self._capture_fields, FieldResult, docket_name, field)
        _each(self._saves, SAVE_OUTCOMES, docket_name)
        _each(self._save_failures, Reason, docket_name)
        _each(self._schedule_failures, SCHEDULE_FAILURES, docket_name)
        _each(self._commands_refused, REFUSABLE, docket_name)
        _each(self._restores, RESTORE_OUTCOMES, docket_name)
        _each(self._restore_failures, Reason, docket_name)
        _each(self._trace_contexts, TraceResult, docket_name)
        _each(self._unrestored_reads, (docket_name,))
        _each(self._sweeps, SWEEP_OUTCOMES, docket_name)
        _each(self._swept_snapshots, (docket_name,))
        _each(self._task_restore_failures, (OTHER_TASK,), docket_name)
        for name in docket_tasks:
            if len(self._tasks) < names.MAX_TASK_NAMES:
                self._tasks.add((docket_name, name))
                _each(self._task_restore_failures, (name,), docket_name)


def _each(family: Mapping[Labels, Series], values: Iterable[str], *before: str) -> None:
    """Create one series for each value of the last label; ``before`` has the values of the other labels."""
    for value in values:
        family[*before, value]


def _trace_result(origin: Mapping[str, str]) -> TraceResult:
    """The state of a restored snapshot's trace context."""
    if TRACEPARENT not in origin:
        return TraceResult.ABSENT
    found = span_context(origin)
    if found is None:
        return TraceResult.INVALID
    return TraceResult.CONTINUED if found.trace_flags.sampled else TraceResult.UNSAMPLED
