"""All metrics and span attributes, with their descriptions.  Dashboards and tests read the names only from here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

OTHER_TASK = "_other"
MAX_TASK_NAMES = 100
"""How many task names get a series of their own; all other tasks are counted under ``_other``."""

_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_CREDENTIAL_LIFE = (0.0, 30.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 4 * _HOUR, _DAY)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family.

    Attributes:
        name: the exposed name; counters end in ``_total``.
        labels: the names of the labels; each label has a limited set of values.
        buckets: the upper bounds of a histogram.
        multiprocess: prometheus_client's mode that combines a gauge's values of several processes.
        exemplars: whether the metric shows the last sampled span as an exemplar.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    multiprocess: Literal["livesum", "livemax", "all"] = "livemax"
    exemplars: bool = False


CAPTURES = Metric(
    "taskctx_captures_total",
    "counter",
    "Tasks whose caller's context was captured at submission, by outcome.",
    ("docket_name", "outcome"),
)
ANONYMOUS_SUBMISSIONS = Metric(
    "taskctx_anonymous_submissions_total",
    "counter",
    "Tasks submitted without a caller, or refused for it; meant are those inside taskctx.anonymous().",
    ("docket_name", "meant"),
)
CAPTURE_FIELDS = Metric(
    "taskctx_capture_fields_total",
    "counter",
    "Parts of the caller's context at capture: captured, absent, or (in part) dropped by policy.",
    ("docket_name", "field", "result"),
)
CAPTURE_DURATION = Metric(
    "taskctx_capture_duration_seconds",
    "histogram",
    "Time to capture a context.",
    ("docket_name",),
    (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
)
CREDENTIAL_TTL_AT_CAPTURE = Metric(
    "taskctx_credential_ttl_at_capture_seconds",
    "histogram",
    "Life left to access tokens when captured; 0 when it was over already.",
    ("docket_name",),
    _CREDENTIAL_LIFE,
)
SAVES = Metric(
    "taskctx_saves_total",
    "counter",
    "Snapshots saved, by outcome; skipped are duplicates.",
    ("docket_name", "outcome"),
    exemplars=True,
)
SAVE_FAILURES = Metric(
    "taskctx_save_failures_total",
    "counter",
    "Snapshots not saved, by reason.",
    ("docket_name", "reason"),
    exemplars=True,
)
SCHEDULE_FAILURES = Metric(
    "taskctx_schedule_failures_total",
    "counter",
    "Tasks whose context was saved and that Docket failed to schedule, by reason; docket is an error of its own.",
    ("docket_name", "reason"),
)
COMMANDS_REFUSED = Metric(
    "taskctx_commands_refused_total",
    "counter",
    "Commands that the Redis server refused and that taskctx did without.",
    ("docket_name", "command"),
)
SAVE_DURATION = Metric(
    "taskctx_save_duration_seconds", "histogram", "Time to save a snapshot.", ("docket_name",), _LATENCY, exemplars=True
)
SNAPSHOT_SIZE = Metric(
    "taskctx_snapshot_size_bytes",
    "histogram",
    "Size of snapshots as stored.",
    ("docket_name",),
    tuple(float(256 * 4**power) for power in range(7)),
)
SNAPSHOT_SIZE_LIMIT = Metric(
    "taskctx_snapshot_size_limit_bytes", "gauge", "The max_snapshot_bytes setting: larger snapshots are refused."
)
RESTORES = Metric(
    "taskctx_restores_total",
    "counter",
    "Restores before a task's body, by outcome.",
    ("docket_name", "outcome"),
    exemplars=True,
)
RESTORE_FAILURES = Metric(
    "taskctx_restore_failures_total",
    "counter",
    "Failed and degraded restores, by reason.",
    ("docket_name", "reason"),
    exemplars=True,
)
TASK_RESTORE_FAILURES = Metric(
    "taskctx_task_restore_failures_total",
    "counter",
    f"Failed and degraded restores, by task; at most {MAX_TASK_NAMES} names, then {OTHER_TASK}.",
    ("docket_name", "docket_task"),
    exemplars=True,
)
UNRESTORED_READS = Metric(
    "taskctx_unrestored_reads_total",
    "counter",
    "Runs of tasks that asked for their caller in a worker that restores none.",
    ("docket_name",),
)
RESTORE_DURATION = Metric(
    "taskctx_restore_duration_seconds",
    "histogram",
    "Time to restore a snapshot.",
    ("docket_name",),
    _LATENCY,
    exemplars=True,
)
SNAPSHOT_AGE = Metric(
    "taskctx_snapshot_age_seconds",
    "histogram",
    "Time from save to restore, by the Redis server's clock.",
    ("docket_name",),
    (
        0.1,
        0.5,
        1.0,
        5.0,
        15.0,
        _MINUTE,
        5 * _MINUTE,
        15 * _MINUTE,
        _HOUR,
        3 * _HOUR,
        12 * _HOUR,
        _DAY,
        3 * _DAY,
        7 * _DAY,
    ),
    exemplars=True,
)
SNAPSHOT_TTL_REMAINING = Metric(
    "taskctx_snapshot_ttl_remaining_ratio",
    "histogram",
    "Share of a snapshot's life that was left when it was restored.",
    ("docket_name",),
    (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0),
    exemplars=True,
)
SNAPSHOT_TTL = Metric(
    "taskctx_snapshot_ttl_seconds",
    "gauge",
    "The pending_ttl setting: how long snapshots outlive the time tasks are due.",
)
CREDENTIAL_TTL_REMAINING = Metric(
    "taskctx_credential_ttl_remaining_seconds",
    "histogram",
    "Life left to access tokens when restored; 0 when it was over.",
    ("docket_name",),
    _CREDENTIAL_LIFE,
    exemplars=True,
)
SWEEPS = Metric(
    "taskctx_sweeps_total",
    "counter",
    "Searches for snapshots that outlive their tasks, by outcome: one worker of a docket in each sweep_interval.",
    ("docket_name", "outcome"),
)
SWEPT_SNAPSHOTS = Metric(
    "taskctx_swept_snapshots_total",
    "counter",
    "Snapshots that had outlived their tasks and got completed_ttl: of tasks that were cancelled, struck or cleared.",
    ("docket_name",),
)
REGISTRY_LOOKUPS = Metric(
    "taskctx_registry_lookups_total",
    "counter",
    "Lookups of live sessions and servers; remote workers miss by design.",
    ("registry", "result"),
)
REGISTRY_ENTRIES = Metric(
    "taskctx_registry_entries",
    "gauge",
    "Live objects registered in this process.",
    ("registry",),
    multiprocess="livesum",
)
REGISTRY_CAPACITY = Metric(
    "taskctx_registry_capacity",
    "gauge",
    "How many objects a registry holds before the oldest go.",
    ("registry",),
    multiprocess="livesum",
)
REGISTRY_EVICTIONS = Metric(
    "taskctx_registry_evictions_total", "counter", "Entries that left a registry, by cause.", ("registry", "cause")
)
TRACE_CONTEXTS = Metric(
    "taskctx_trace_contexts_total", "counter", "Trace contexts found in restored snapshots.", ("docket_name", "result")
)
INHERITED_CONTEXTS = Metric(
    "taskctx_inherited_contexts_total",
    "counter",
    "Requests that a server began in the context of an earlier one; they ran in a clean one.",
)
CRYPTO_OPERATIONS = Metric(
    "taskctx_crypto_operations_total",
    "counter",
    "Snapshots sealed and opened, by key; ids that are not in the keyring are counted as unknown.",
    ("operation", "key_id", "outcome"),
)
ENCRYPTION_KEY_INFO = Metric(
    "taskctx_encryption_key_info",
    "gauge",
    "Always 1: the keys in this process's keyring; the primary seals.",
    ("key_id", "role"),
)
SCHEMA_VERSION = Metric(
    "taskctx_snapshot_schema_version", "gauge", "Snapshot schema versions this process writes and reads.", ("bound",)
)
BUILD_INFO = Metric(
    "taskctx_build_info",
    "gauge",
    "Always 1; the versions are in the labels.",
    ("version", "python_version", "docket_version"),
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


UNKNOWN_KEY = "unknown"
"""The key_id label of a snapshot that is sealed with a key that this process does not have."""


DOCKETS_ERROR = "docket"
"""The reason label of a task that was not scheduled because of Docket's own error, not the server's."""


class TraceResult(StrEnum):
    """The state of a restored snapshot's trace context."""

    CONTINUED = "continued"
    UNSAMPLED = "unsampled"
    ABSENT = "absent"
    INVALID = "invalid"


class Span(StrEnum):
    CAPTURE = "taskctx.capture"
    SAVE = "taskctx.save"
    RESTORE = "taskctx.restore"


class Attribute(StrEnum):
    """Span attributes: OpenTelemetry's messaging conventions, Docket's own names, and taskctx's."""

    MESSAGING_SYSTEM = "messaging.system"
    MESSAGING_DESTINATION = "messaging.destination.name"
    MESSAGING_OPERATION = "messaging.operation.name"
    MESSAGING_BATCH_COUNT = "messaging.batch.message_count"
    DOCKET_NAME = "docket.name"
    DOCKET_TASK = "docket.task"
    DOCKET_ATTEMPT = "docket.attempt"
    ERROR_TYPE = "error.type"
    OUTCOME = "taskctx.outcome"
    FIELDS = "taskctx.fields"
    ORIGIN_TRACE_ID = "taskctx.origin.trace_id"
    SNAPSHOT_SIZE = "taskctx.snapshot.size"
    SNAPSHOT_AGE = "taskctx.snapshot.age"
    SNAPSHOT_TTL_REMAINING = "taskctx.snapshot.ttl_remaining"
    SNAPSHOT_SCHEMA_VERSION = "taskctx.snapshot.schema_version"
    ENCRYPTION_KEY_ID = "taskctx.encryption.key_id"
