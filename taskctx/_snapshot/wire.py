"""The wire format: a snapshot's Redis key, its stored bytes, and how a worker makes a caller of it.

taskctx's own tasks use the plain wire.  FastMCP's tasks use the wire in ``taskctx.fastmcp``, with FastMCP's keys and
format.  Code that submits or restores a task is the same for both.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Protocol

from docket import Docket

from .._caller.caller import Caller
from .._caller.token import Credential
from .._runtime import Runtime
from ..errors import Reason
from .capture import Values
from .codec import MAGIC
from .keys import TaskKeyParts, parse_task_key
from .snapshot import StoredSnapshot, dump_json, parse_stored


class Wire(Protocol):
    """Addresses, writes, reads and applies a snapshot.

    Attributes:
        keeps_expired_tokens: whether a task may get an expired token where ``on_expired_token`` allows it.
        degraded: why decoding left out a part of the snapshot.
    """

    keeps_expired_tokens: bool
    degraded: Reason | None

    def parse(self, task_key: str, /) -> TaskKeyParts | None:
        """The parts of a Docket task key; None for a task that does not use this wire."""
        ...

    def key(self, docket: Docket, task_key: str, parts: TaskKeyParts, runtime: Runtime) -> str:
        """The full Redis key of a task's snapshot."""
        ...

    def encode(self, values: Values, key: str, runtime: Runtime) -> bytes:
        """The bytes to store for a snapshot's values by field name, which include ``stored_at`` and ``ttl``.

        Raises:
            CaptureError: one of the values has no JSON form.
        """
        ...

    def encode_reduced(self, key: str, runtime: Runtime) -> bytes | None:
        """The bytes to store in place of a snapshot above ``max_snapshot_bytes``; None where the save must fail."""
        ...

    def decode(self, stored: bytes, key: str, runtime: Runtime) -> StoredSnapshot:
        """The snapshot in stored bytes.

        Raises:
            SnapshotError: the bytes cannot be read; the error has the reason.
        """
        ...

    def sealing_key_id(self, runtime: Runtime, /) -> str | None:
        """The id of the key that :meth:`encode` seals with; None where taskctx does not seal."""
        ...

    def envelope(self, stored: bytes) -> bytes | None:
        """The envelope in stored bytes; None where no taskctx keyring sealed them."""
        ...

    def lifetimes(self, snapshot: StoredSnapshot, runtime: Runtime) -> tuple[int, int] | None:
        """The snapshot's TTLs in seconds, at its save and at a renewal; None where taskctx did not write it."""
        ...

    def fails_task(self, reason: Reason, runtime: Runtime) -> bool:
        """Whether a restore that failed for this reason fails the task."""
        ...

    def caller(self, parts: TaskKeyParts, snapshot: StoredSnapshot, credential: Credential | None) -> Caller:
        """The snapshot's caller, with this credential.  The framework gets the same caller.

        Raises:
            SnapshotError: (``malformed``) the framework refuses the caller.
        """
        ...


class _Plain:
    """The wire of taskctx's own tasks."""

    keeps_expired_tokens = True
    degraded: Reason | None = None
    parse = staticmethod(parse_task_key)
    sealing_key_id = staticmethod(attrgetter("codec.sealing_key_id"))

    def key(self, docket: Docket, task_key: str, parts: TaskKeyParts, runtime: Runtime) -> str:
        # gives the same as keys.snapshot_key with the task's scope and id; the key's segments are quoted already
        owner, _, _ = task_key.rsplit(":", 2)
        return docket.key(f"{runtime.settings.key_prefix}:task:{owner}:snapshot")

    def encode(self, values: Values, key: str, runtime: Runtime) -> bytes:
        return runtime.codec.encode(dump_json(values), key)

    def encode_reduced(self, key: str, runtime: Runtime) -> bytes | None:
        return None

    def decode(self, stored: bytes, key: str, runtime: Runtime) -> StoredSnapshot:
        return parse_stored(runtime.codec.decode(stored, key))

    def envelope(self, stored: bytes) -> bytes | None:
        return stored if stored.startswith(MAGIC) else None

    def lifetimes(self, snapshot: StoredSnapshot, runtime: Runtime) -> tuple[int, int] | None:
        return snapshot.ttl or runtime.settings.pending_ttl, runtime.settings.pending_ttl

    def fails_task(self, reason: Reason, runtime: Runtime) -> bool:
        return runtime.settings.fails_task(reason)

    def caller(self, parts: TaskKeyParts, snapshot: StoredSnapshot, credential: Credential | None) -> Caller:
        return Caller(
            credential_source=None if credential is None else credential.present,
            headers=snapshot.http_headers or {},
            request_id=snapshot.origin_request_id,
            session_id=snapshot.session_id,
            anonymity_is_meant=snapshot.anonymity_is_meant is True,
        )


PLAIN: Wire = _Plain()
