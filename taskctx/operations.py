"""What taskctx does, as observers see it: operations have a length and an outcome, events have neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from .errors import Reason


class Outcome(StrEnum):
    """How an operation ended.  Captures know ok, partial, empty and failed; restores ok, degraded, failed, skipped."""

    OK = "ok"
    PARTIAL = "partial"
    EMPTY = "empty"
    DEGRADED = "degraded"
    SKIPPED = "skipped"
    FAILED = "failed"


class Field(StrEnum):
    """The parts of a caller's context, as counted."""

    TOKEN = "token"
    HEADERS = "headers"
    SESSION_ID = "session_id"
    REQUEST_ID = "request_id"
    TRACE = "trace"
    BAGGAGE = "baggage"
    CARRIED = "carried"


FIELDS: Final = tuple(Field)
"""All of them, in the order in which a :class:`Capture` has them."""


class FieldResult(StrEnum):
    CAPTURED = "captured"
    ABSENT = "absent"
    DROPPED = "dropped"


@dataclass(slots=True, kw_only=True)
class Operation:
    """One thing taskctx does, from its start to its end.

    Attributes:
        outcome: ``ok`` unless told otherwise.
        reason: why it is degraded or failed.
        cause: what kept us from the server, in fixed words, where that is known.
        duration: seconds; 0 until the operation ended.
    """

    outcome: Outcome = Outcome.OK
    reason: Reason | None = None
    cause: str | None = None
    duration: float = 0.0

    def failed(self, reason: Reason | None) -> None:
        self.outcome, self.reason = Outcome.FAILED, reason

    def degraded(self, reason: Reason) -> None:
        self.outcome, self.reason = Outcome.DEGRADED, reason

    def skipped(self) -> None:
        self.outcome, self.reason = Outcome.SKIPPED, None


@dataclass(slots=True, kw_only=True)
class Capture(Operation):
    """The caller's context is read.

    Attributes:
        count: tasks that are submitted with it.
        is_anonymous: there is no caller; that is the reason too, unless it is meant or ``on_anonymous`` allows it.
        is_meant: it is anonymous inside of :func:`taskctx.anonymous`.
        credential_ttl: seconds of life left to the caller's token, negative when past.
        fields: all of :data:`FIELDS`, in their order; none when the capture failed.
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
    """One snapshot, or a batch of them, is stored.

    Attributes:
        task_id: for the log; None where several are saved together.
        count: snapshots saved together.
        sizes: bytes of each as stored.
        sealed_with: the id of the encryption key that they are sealed with.
        ttl: seconds, of the first.
        fields: names of what the snapshot holds.
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
    """A task's snapshot is fetched and put in force.

    Attributes:
        task_id: for the log; None for keys that are not ours.
        fails_task: the restore failed, and by the failure contract the task is failed rather than run anonymous.
        is_sealed: the snapshot says that a keyring of taskctx's sealed it.
        key_id: of the encryption key that the snapshot says it is sealed with, if this process has it.
        size: bytes as stored.
        age: seconds since it was saved.
        ttl: seconds it was given when saved or renewed; ``ttl_remaining`` of them were left when it was fetched.
        credential_ttl: seconds of life left to the token, negative when past; to the new one where it was refreshed.
        refresh_failure: why there is no new token although there is a hook, in fixed words and names of types.
        origin: the submission's W3C carrier.
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
    """A worker looks for snapshots that outlive their tasks.

    Attributes:
        shortened: snapshots that were given the life of a finished task's.
        gives_up: the server does not let this worker look, and it does not try again.
    """

    docket_name: str
    shortened: int = 0
    gives_up: bool = False


@dataclass(frozen=True, slots=True)
class DocketSeen:
    """A docket is about to be used in this process: what is counted by docket or task can start at 0."""

    docket_name: str
    docket_tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnrestoredRead:
    """A task asked for its caller in a worker that never restored it; told once a run.

    Attributes:
        fails_task: the task was failed, rather than shown an anonymous caller.
    """

    docket_name: str
    docket_task: str
    fails_task: bool


Registry = Literal["session", "server"]


@dataclass(frozen=True, slots=True)
class RegistryLookup:
    registry: Registry
    result: Literal["hit", "miss", "dead"]


@dataclass(frozen=True, slots=True)
class RegistryEviction:
    registry: Registry
    cause: Literal["dead", "capacity", "removed"]
    count: int = 1


@dataclass(frozen=True, slots=True)
class RegistrySize:
    registry: Registry
    entries: int
    capacity: int


@dataclass(frozen=True, slots=True)
class ContextInherited:
    """A server began a request in the context of an earlier one; it runs in a clean one."""


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """The server refused a command that taskctx does without: this process's clock in place of TIME, ..."""

    docket_name: str
    command: Literal["TIME", "TTL"]


@dataclass(frozen=True, slots=True)
class NotScheduled:
    """Docket failed to schedule tasks whose contexts were saved, and these are taken back.

    Attributes:
        reason: None where it was not the server: arguments that cannot be pickled, an error of Docket's own.
        cause: what happened and what to do, where more is known than the reason explains.
    """

    docket_name: str
    docket_task: str
    reason: Reason | None
    cause: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class UserNotUnderstood:
    """A request had a user in its scope who says who it is in no way that is known.

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
