"""The errors of taskctx, in one tree.

    TaskContextError
    ├── InvalidArgument     (ValueError)  the value of an argument cannot be used
    ├── InvalidType         (TypeError)   an argument has the wrong type
    ├── ConfigurationError  (ValueError)  a setting has no valid value, or a name is registered twice
    ├── UnsupportedVersion  (ImportError) a package that taskctx builds on lacks what it needs
    ├── CaptureError                      the caller's context could not be captured
    ├── SnapshotError                     a stored snapshot cannot be read or written
    ├── SaveError                         a snapshot was not saved; nothing was scheduled
    ├── ScheduleError                     a snapshot was saved, but Docket could not schedule the task
    ├── RestoreError                      a task fails, because its context was not restored
    └── ExecutionError                    Docket could not be asked about a task, or to cancel it

Messages are fixed texts.  Docket writes ``str(exception)`` on its span and pickles the exception
into its result store, so no message may hold a value that came from a caller, and errors with a
:class:`Reason` are raised ``from None``.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a context was lost: one word, the same in the metric, the span's ``error.type`` and the log."""

    MISSING = "missing"
    BACKEND_TIMEOUT = "backend_timeout"
    BACKEND_ERROR = "backend_error"
    DECRYPT_UNKNOWN_KEY = "decrypt_unknown_key"
    DECRYPT_FAILED = "decrypt_failed"
    PLAINTEXT_REFUSED = "plaintext_refused"
    MALFORMED = "malformed"
    SCHEMA_UNSUPPORTED = "schema_unsupported"
    SCOPE_MISMATCH = "scope_mismatch"
    TOO_LARGE = "too_large"
    CREDENTIAL_EXPIRED = "credential_expired"
    CREDENTIAL_REFRESH_FAILED = "credential_refresh_failed"
    CARRIED_INVALID = "carried_invalid"
    CARRIED_REQUIRED = "carried_required"
    NOT_RESTORED = "not_restored"
    ANONYMOUS = "anonymous"
    INTERNAL = "internal"

    @property
    def explanation(self) -> str:
        """The likely cause and what to do about it, as text for a log line or an exception."""
        return _EXPLANATIONS[self]


_EXPLANATIONS: dict[Reason, str] = {
    Reason.MISSING: (
        "no snapshot is stored for the task. It expired before the task was due (raise pending_ttl), "
        "the server evicted it (see maxmemory-policy), or the task was added without taskctx"
    ),
    Reason.BACKEND_TIMEOUT: (
        "the Redis server did not answer in time. Check its load and the network, or raise backend_timeout"
    ),
    Reason.BACKEND_ERROR: (
        "the Redis server could not be reached or refused the command. Check that it is up and its permissions"
    ),
    Reason.DECRYPT_UNKNOWN_KEY: (
        "the snapshot is sealed with a key this process does not have. Two processes run with different keyrings: "
        "see TASKCTX_ENCRYPTION_KEYS on both"
    ),
    Reason.DECRYPT_FAILED: ("the sealed snapshot did not open. It was altered, or was copied from another task's key"),
    Reason.PLAINTEXT_REFUSED: (
        "the snapshot is not sealed, but this process has encryption keys. While migrating, set accept_plaintext"
    ),
    Reason.MALFORMED: (
        "the stored snapshot is not one of ours. Something else writes under the same key, or it was damaged"
    ),
    Reason.SCHEMA_UNSUPPORTED: (
        "the snapshot was written by a newer taskctx that this one cannot read. Upgrade the workers first"
    ),
    Reason.SCOPE_MISMATCH: (
        "the token in the snapshot belongs to another scope than the task's key. The task was added under a "
        "key that is not its caller's, or the refresh_token hook gave another caller's token"
    ),
    Reason.TOO_LARGE: (
        "the snapshot is larger than max_snapshot_bytes. Narrow headers_allow or baggage_keys, or carry less"
    ),
    Reason.CREDENTIAL_EXPIRED: (
        "the access token expired while the task was queued. Issue longer tokens, add workers, or see refresh_token "
        "and on_expired_token"
    ),
    Reason.CREDENTIAL_REFRESH_FAILED: (
        "the access token expired while the task was queued, and the refresh_token hook gave no new one that can be "
        "used. Check the hook and what it asks, or raise refresh_timeout"
    ),
    Reason.CARRIED_INVALID: (
        "a carried value does not fit the type it is carried as, or has no JSON form. carry(var, type=...) must name "
        "a type that fits, the same in submitters and workers"
    ),
    Reason.CARRIED_REQUIRED: (
        "a carried value that is required is not there, does not fit its type, or is not carried by this worker. "
        "Set it before the task is submitted, and call carry with the same name and type in submitters and workers; "
        "taskctx inspect shows what the snapshot requires and holds"
    ),
    Reason.NOT_RESTORED: (
        "the task asked for its caller in a worker that restores none. Start the worker with taskctx's "
        "worker_dependencies (docket worker --dependencies taskctx:worker_dependencies); one of FastMCP's calls "
        "taskctx.fastmcp.instrument()"
    ),
    Reason.ANONYMOUS: (
        "nothing had said who the caller is when the task was submitted. Authenticate the request, or use identify or "
        "bind_caller, before the submission; if the task is to have no caller, submit it inside taskctx.anonymous()"
    ),
    Reason.INTERNAL: "taskctx met an unexpected error. This is a bug: please report it",
}


class TaskContextError(Exception):
    """Base of every error that taskctx raises."""


class InvalidArgument(TaskContextError, ValueError):
    """An argument's value cannot be used: an empty id, a TTL below one second, a bad pattern."""


class InvalidType(TaskContextError, TypeError):
    """An argument has the wrong type."""


class ConfigurationError(TaskContextError, ValueError):
    """A setting has no valid value, or a name is registered twice.  Never quotes the value."""


class UnsupportedVersion(TaskContextError, ImportError):
    """An installed package lacks a name or behaviour that taskctx needs.  The message names the package and version."""


class CaptureError(TaskContextError):
    """The caller's context was not captured: a carried value has no JSON form or is missing, or there is no caller."""

    def __init__(self, message: str, reason: Reason = Reason.CARRIED_INVALID) -> None:
        super().__init__(message)
        self.reason = reason


class _ReasonedError(TaskContextError):
    """An error that holds only its reason and cause, so that it can be pickled and can leak nothing.

    Attributes:
        cause: what happened and what to do about it, in fixed words; None where no more is known than the reason says.
    """

    what: str

    def __init__(self, reason: Reason, cause: str | None = None) -> None:
        super().__init__(*(part for part in (reason, cause) if part is not None))
        self.reason = reason
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.what} ({self.reason.value}): {self.cause or self.reason.explanation}."


class SnapshotError(_ReasonedError):
    """A snapshot's stored form cannot be read (or is too large to be written)."""

    what = "the snapshot cannot be used"


class SaveError(_ReasonedError):
    """The snapshot was not saved, so the task was not scheduled."""

    what = "the task's context was not saved and the task was not scheduled"


class ScheduleError(_ReasonedError):
    """The context was saved, but the server did not accept the task, or did not answer; the context is removed again.

    Adding the task again under the same ``key`` is safe: if Docket has scheduled it, it answers ``ALREADY_SCHEDULED``.
    """

    what = "Docket could not schedule the task"


class RestoreError(_ReasonedError):
    """The task's context was not restored, and ``on_restore_failure`` is ``fail``: the task fails before its body.

    In a worker without ``worker_dependencies``, the body raises this error when it asks for the caller.
    """

    what = "the task's context was not restored, and the task fails"


class ExecutionError(_ReasonedError):
    """Docket could not look up or cancel a task."""

    what = "Docket could not be asked about the task, or to cancel it"
