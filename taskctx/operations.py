"""The operations and events that observers see: operations have a duration and an outcome, events have neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from .errors import Reason


class Outcome(StrEnum):
    """How an operation ended: a capture ok, partial, empty or failed; a restore ok, degraded, failed or skipped."""

    OK = "ok"
    PARTIAL = "partial"
    EMPTY = "empty"
    DEGRADED = "degraded"
    SKIPPED = "skipped"
    FAILED = "failed"


class Field(StrEnum):
    """The parts of a caller's context that metrics count."""

    TOKEN = "token"
    HEADERS = "headers"
    SESSION_ID = "session_id"
    REQUEST_ID = "request_id"
    TRACE = "trace"
    BAGGAGE = "baggage"
    CARRIED = "carried"


FIELDS: Final = tuple(Field)
"""All parts, in the order of :attr:`Capture.fields`."""


class FieldResult(StrEnum):
    """What a capture did with a part; a part that was dropped in part is both captured and dropped."""

    CAPTURED = "captured"
    ABSENT = "absent"
    DROPPED = "dropped"


@dataclass(slots=True, kw_only=True)
class Operation:
    """One operation of taskctx, from its start to its end.

    Attributes:
        outcome: ``ok`` unless another outcome is set.
        reason: why the operation is degraded or failed.
        cause: why the server could not be reached or refused, in fixed words, where it is known.
        duration: seconds; 0 until the operation has ended.
    """

    outcome: Outcome = Outcome.OK
    reason: Reason | None = None
    cause: str | None = None
    duration: float = 0.0

    def failed(self, reason: Reason | None) -> None:
        """Set the outcome to ``failed``; the reason is None where taskctx has no word for the error."""
        self.outcome, self.reason = Outcome.FAILED, reason

    def degraded(self, reason: Reason) -> None:
        """Set the outcome to ``degraded``: the task gets a part of its context."""
        self.outcome, self.reason = Outcome.DEGRADED, reason

    def skipped(self) -> None:
        """Set the outcome to ``skipped``: there was nothing to do, or the operation was cancelled."""
        self.outcome, self.reason = Outcome.SKIPPED, None


@dataclass(slots=True, kw_only=True)
class Capture(Operation):
    """taskctx reads the caller's context.

    Attributes:
        count: the number of tasks that are submitted with the context.
        is_anonymous: there is no caller; ``reason`` is set too, unless it is meant or ``on_anonymous`` allows it.
        is_meant: the submission is inside of :func:`taskctx.anonymous`.
        credential_ttl: seconds until the caller's token expires, negative after that.
        fields: the results of all :data:`FIELDS`, in their order; empty when the capture failed.
    """

    docket_name: str
    docket_task: str = ""
    count: int = 1
    is_anonymous: bool = False
    is_meant: bool = False
    credential_ttl: float | None = None
    fields: Mapping[Field, frozenset[FieldResult]] = field(default_factory=dict[Field, frozenset[FieldResult]])


@dataclass(slots=True, kw_only=True)
class Save(Operation):
    """taskctx stores one snapshot, or a batch of snapshots.

    Attributes:
        task_id: the task's id, for the log; None for a batch.
        count: the number of snapshots in the batch.
        sizes: the stored size of each snapshot in bytes.
        sealed_with: the id of the encryption key that seals the snapshots.
        ttl: the TTL of the first snapshot in seconds.
        fields: the names of the parts that the snapshot holds.
    """

    docket_name: str
    docket_task: str = ""
    task_id: str | None = None
    count: int = 1
    sizes: Sequence[int] = ()
    sealed_with: str | None = None
    ttl: int | None = None
    fields: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Restore(Operation):
    """taskctx fetches a task's snapshot and puts it in force.

    Attributes:
        task_id: the task's id, for the log; None for keys that taskctx did not build.
        fails_task: the restore failed, and the settings fail the task instead of running it anonymously.
        is_sealed: the snapshot claims to be sealed by a taskctx keyring.
        key_id: the id of the encryption key in the snapshot's header, if this process has the key.
        size: the stored size in bytes.
        age: seconds since the snapshot was saved.
        ttl: the TTL in seconds at the save or the renewal; ``ttl_remaining`` was left of it at the fetch.
        credential_ttl: seconds until the token (a new one where it was refreshed) expires, negative after that.
        refresh_failure: why the hook gave no new token, in fixed words and names of types.
        origin: the W3C carrier of the submission.
    """

    docket_name: str
    docket_task: str = ""
    task_id: str | None = None
    attempt: int = 1
    fails_task: bool = False
    is_sealed: bool = False
    key_id: str | None = None
    size: int | None = None
    age: float | None = None
    ttl: int | None = None
    ttl_remaining: int | None = None
    credential_ttl: float | None = None
    refresh_failure: str | None = None
    schema_version: int | None = None
    fields: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(slots=True, kw_only=True)
class Run(Operation):
    """A task's body runs with its restored context."""

    docket_name: str
    docket_task: str
    attempt: int
    origin: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    error_type: str | None = None

    def body_failed(self, error_type: str) -> None:
        """The task's own code raised an exception of this type."""
        self.failed(None)
        self.error_type = error_type


@dataclass(slots=True, kw_only=True)
class Sweep(Operation):
    """A worker searches for snapshots that outlive their tasks.

    Attributes:
        shortened: how many snapshots got ``completed_ttl``.
        gives_up: the server does not allow the search, and the worker does not try again.
    """

    docket_name: str
    shortened: int = 0
    gives_up: bool = False


@dataclass(frozen=True, slots=True)
class DocketSeen:
    """A docket is used for the first time in this process: its series by docket or task can start at 0."""

    docket_name: str
    docket_tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnrestoredRead:
    """A task asked for its caller in a worker that restores none; reported once for each run.

    Attributes:
        fails_task: the task failed; False where it saw an anonymous caller.
    """

    docket_name: str
    docket_task: str
    fails_task: bool


Registry = Literal["session", "server"]
"""The registry of live sessions, or the registry of live servers."""


@dataclass(frozen=True, slots=True)
class RegistryLookup:
    """Code asked a registry for a live object.

    Attributes:
        result: ``hit``; ``dead`` for an object that was garbage-collected; ``miss`` for an unknown id.
    """

    registry: Registry
    result: Literal["hit", "miss", "dead"]


@dataclass(frozen=True, slots=True)
class RegistryEviction:
    """Entries left a registry.

    Attributes:
        cause: ``dead`` for garbage-collected objects; ``capacity`` for the oldest entries of a full registry;
            ``removed`` for the entry of a task that was not scheduled.
        count: the number of entries.
    """

    registry: Registry
    cause: Literal["dead", "capacity", "removed"]
    count: int = 1


@dataclass(frozen=True, slots=True)
class RegistrySize:
    """The size of a registry changed.

    Attributes:
        entries: the number of entries now.
        capacity: the most entries that the settings allow.
    """

    registry: Registry
    entries: int
    capacity: int


@dataclass(frozen=True, slots=True)
class ContextInherited:
    """A server began a request in the context of an earlier request; taskctx runs it in a clean context."""


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """The server refused a command that taskctx can replace: for example TIME, by this process's clock."""

    docket_name: str
    command: Literal["TIME", "TTL"]


@dataclass(frozen=True, slots=True)
class NotScheduled:
    """Docket failed to schedule tasks with a saved context; the saved contexts are removed again.

    Attributes:
        reason: None for a failure that is not the server's: arguments that cannot be pickled, or Docket's own error.
        cause: what happened and what to do, where more is known than the reason says.
    """

    docket_name: str
    docket_task: str
    reason: Reason | None
    cause: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class UserNotUnderstood:
    """The user in a request's scope has neither a token nor a name that taskctx can read.

    Attributes:
        kind: the name of the user's type.
    """

    kind: str


Event = (
    CommandRefused
    | ContextInherited
    | DocketSeen
    | NotScheduled
    | UnrestoredRead
    | RegistryLookup
    | RegistryEviction
    | RegistrySize
    | UserNotUnderstood
)
