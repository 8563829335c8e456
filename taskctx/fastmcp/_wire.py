"""FastMCP's wire: FastMCP's keys and snapshot, with taskctx's part as one more member of the JSON object.

FastMCP ignores that member.  Where FastMCP's own encryption key is set, FastMCP's codec seals.  Otherwise taskctx's
keyring seals, if there is one, and the envelope is stored as text that looks like a Fernet token.  A process without
``instrument()`` takes the text for a token that it has no key for, and fails the task instead of running it
anonymously.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from docket import Docket
from pydantic_core import from_json

from .._caller.caller import Caller, lowered
from .._caller.token import Credential
from .._runtime import Runtime
from .._snapshot.capture import Values
from .._snapshot.codec import from_text, is_fernet, is_sealed_as_text
from .._snapshot.keys import PLAIN_TASK, TaskKeyParts
from .._snapshot.snapshot import StoredSnapshot, dump_json, stored_from
from ..errors import Reason, SnapshotError
from ._caller import SeenHeaders, request_id
from ._upstream import FastMCPSnapshot, Snapshot, line, logger

MEMBER = "taskctx"
OURS = (
    "schema_version",
    "trace_context",
    "carried",
    "required",
    "captured_at",
    "anonymity_is_meant",
    "stored_at",
    "ttl",
)
"""The fields of a snapshot that are in taskctx's member; FastMCP's own snapshot has the other fields."""

FASTMCPS = ("access_token_json", "http_headers", "origin_request_id", "session_id")

ANONYMOUS = Snapshot()


class FastMCPWire:
    """The wire of one FastMCP task, for its save or its restore."""

    keeps_expired_tokens = False
    """FastMCP keeps no expired token, whatever ``on_expired_token`` says."""

    def __init__(self, snapshot: FastMCPSnapshot = ANONYMOUS) -> None:
        self._snapshot = snapshot
        # True until the codec is known: FastMCP fails tasks when its key is misconfigured
        self._protected = True
        self._sealed_by_fastmcp = False
        self._requires_ours = False
        self.degraded: Reason | None = None

    def parse(self, task_key: str, /) -> TaskKeyParts | None:
        """The parts of a FastMCP task key, of any leg; None for other keys."""
        try:
            parts = line.parse_task_key(task_key)
        except ValueError:
            return None
        if parts["task_type"] == PLAIN_TASK:
            return None
        return TaskKeyParts(
            parts["task_scope"], parts["client_task_id"], parts["task_type"], parts["component_identifier"]
        )

    def key(self, docket: Docket, task_key: str, parts: TaskKeyParts, runtime: Runtime) -> str:
        self._protected = line.snapshot_codec().protected
        return line.snapshot_redis_key(docket, parts.task_scope, parts.task_id)

    def encode(self, values: Values, key: str, runtime: Runtime) -> bytes:
        """FastMCP's snapshot with taskctx's member; without the member where taskctx captured nothing."""
        if "schema_version" not in values.by_name:
            return _sealed(self._snapshot.to_json(), key, runtime)
        self._requires_ours = "required" in values.by_name
        ours = Values({name: values.by_name[name] for name in OURS if name in values.by_name})
        # FastMCP's text is not parsed: it is a JSON object that is not empty (see tests/upstream/test_fastmcp.py)
        member = f'"{MEMBER}": {dump_json(ours).decode()}}}'
        return _sealed(f"{self._snapshot.to_json()[:-1]}, {member}", key, runtime)

    def encode_reduced(self, key: str, runtime: Runtime) -> bytes | None:
        """FastMCP's part without taskctx's member: FastMCP would store it at any size.

        None where the member holds a required carried value: then nothing is stored.
        """
        return None if self._requires_ours else _sealed(self._snapshot.to_json(), key, runtime)

    def decode(self, stored: bytes, key: str, runtime: Runtime) -> StoredSnapshot:
        self._sealed_by_fastmcp = is_fernet(stored)
        text = _opened(stored, key, runtime)
        try:
            self._snapshot = Snapshot.from_json(text)
            # checked here, so that the snapshot cannot fail when it takes effect
            snapshot = stored_from({name: getattr(self._snapshot, name) for name in FASTMCPS})
        except Exception:  # noqa: BLE001 - FastMCP's code and JSON: any of its errors may quote the caller's token
            raise SnapshotError(Reason.MALFORMED) from None
        try:
            ours = _member_of(text)
        except SnapshotError as error:
            # when taskctx's member cannot be read, FastMCP's part is restored without it
            self.degraded = error.reason
            return snapshot
        if ours is None:
            return snapshot
        return replace(snapshot, **{name: getattr(ours, name) for name in OURS})

    def sealing_key_id(self, runtime: Runtime, /) -> str | None:
        return None if line.snapshot_codec().protected else runtime.codec.sealing_key_id

    def envelope(self, stored: bytes) -> bytes | None:
        if not is_sealed_as_text(stored):
            return None
        try:
            return from_text(stored)
        except SnapshotError:
            return b""

    def lifetimes(self, snapshot: StoredSnapshot, runtime: Runtime) -> tuple[int, int] | None:
        """FastMCP renews its snapshots to their full TTL."""
        return None if snapshot.stored_at is None or snapshot.ttl is None else (snapshot.ttl, snapshot.ttl)

    def fails_task(self, reason: Reason, runtime: Runtime) -> bool:
        """Whether FastMCP's or taskctx's failure contract fails the task."""
        if self._sealed_by_fastmcp and reason in (Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY):
            logger.error(
                "A task's snapshot is sealed with another FASTMCP_TASKS_ENCRYPTION_KEY than this process has. "
                "Every server and worker of the queue needs the same; the task fails rather than run anonymous."
            )
            return True
        return self._protected or runtime.settings.fails_task(reason)

    def caller(self, parts: TaskKeyParts, snapshot: StoredSnapshot, credential: Credential | None) -> Caller:
        """Make this the current snapshot of FastMCP, and let FastMCP remember it.

        FastMCP's getters return a refreshed token too; the headers do not change, so ``authorization`` is the old one.
        """
        token = None if credential is None else credential.json
        original = self._snapshot
        try:
            line.put_in_force(
                parts.task_id,
                original if token == original.access_token_json else replace(original, access_token_json=token),
            )
        except Exception:  # noqa: BLE001 - pydantic quotes the token
            raise SnapshotError(Reason.MALFORMED) from None
        return Caller(
            credential_source=None if credential is None else credential.present,
            headers=SeenHeaders(),
            request_id=request_id(lowered(snapshot.http_headers), snapshot.origin_request_id),
            session_id=snapshot.session_id,
            anonymity_is_meant=snapshot.anonymity_is_meant is True,
        )


def _sealed(text: str, key: str, runtime: Runtime) -> bytes:
    codec = line.snapshot_codec()
    if codec.protected or runtime.settings.keyring is None:
        return codec.encode(text).encode()
    return line.as_unreadable(runtime.codec.encode(text.encode(), key))


def _opened(stored: bytes, key: str, runtime: Runtime) -> str:
    """The JSON in a stored value.

    Raises:
        SnapshotError: the value cannot be read; the error has the reason.
    """
    if is_sealed_as_text(stored):
        return runtime.codec.decode(from_text(stored), key).decode()
    codec, settings = line.snapshot_codec(), runtime.settings
    if not is_fernet(stored):
        if not stored.startswith(b"{"):
            raise SnapshotError(Reason.MALFORMED)
        if codec.protected or (settings.keyring is not None and not settings.accept_plaintext):
            raise SnapshotError(Reason.PLAINTEXT_REFUSED)
    try:
        return codec.decode(stored)
    except UnicodeDecodeError:
        raise SnapshotError(Reason.MALFORMED) from None
    except line.SnapshotDecryptionError:
        # Fernet does not say whether the key is another one or the value was altered
        reason = Reason.DECRYPT_FAILED if codec.protected else Reason.DECRYPT_UNKNOWN_KEY
        raise SnapshotError(reason) from None


def _member_of(text: str) -> StoredSnapshot | None:
    """The member of taskctx in a stored snapshot; None where a process without ``instrument()`` wrote it.

    Raises:
        SnapshotError: ``malformed``, or ``schema_unsupported`` when a newer taskctx wrote it.
    """
    try:
        member = cast("dict[str, Any]", from_json(text)).get(MEMBER)
    except ValueError:
        # Python's json module, which FastMCP uses, accepts more than pydantic's parser
        raise SnapshotError(Reason.MALFORMED) from None
    return None if member is None else stored_from(member)
