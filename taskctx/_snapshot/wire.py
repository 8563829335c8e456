"""The wire: where a snapshot is stored, as which bytes, and how it becomes a caller again.

taskctx's own is plain; FastMCP's, in ``taskctx.fastmcp``, keeps FastMCP's keys and format.  Whoever submits or restores
a task does it the same way over either.
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
    """How a snapshot is addressed, written, read and put in force.

    Attributes:
        keeps_expired_tokens: whether a task may get an expired token at all, where ``on_expired_token`` says so.
        degraded: why a part of what was decoded was left out.
    """

    keeps_expired_tokens: bool
    degraded: Reason | None

    def parse(self, task_key: str, /) -> TaskKeyParts | None:
        """The parts of a Docket task key; None for a task that is not of this wire."""
        ...

    def key(self, docket: Docket, task_key: str, parts: TaskKeyParts, runtime: Runtime) -> str:
        """The Redis key of a task's snapshot, complete."""
        ...

    def encode(self, values: Values, key: str, runtime: Runtime) -> bytes:
        """The bytes to store: a snapshot's values by field name, ``stored_at`` and ``ttl`` among them.

        Raises:
            CaptureError: something in it has no JSON form.
        """
        ...

    def encode_less(self, key: str, runtime: Runtime) -> bytes | None:
        """What to store in place of more than ``max_snapshot_bytes``; None where that is refused."""
        ...

    def decode(self, stored: bytes, key: str, runtime: Runtime) -> StoredSnapshot:
        """The snapshot in stored bytes.

        Raises:
            SnapshotError: with the reason why it cannot be read.
        """
        ...

    def sealing_key_id(self, runtime: Runtime, /) -> str | None:
        """The id of the keyring's key that :meth:`encode` seals with; None where taskctx does not seal."""
        ...

    def envelope(self, stored: bytes) -> bytes | None:
        """The envelope in stored bytes; None where no keyring of taskctx's sealed them."""
        ...

    def lifetimes(self, snapshot: StoredSnapshot, runtime: Runtime) -> tuple[int, int] | None:
        """The TTLs that a snapshot gets at its save and at a renewal; None where taskctx did not write it."""
        ...

    def fails_task(self, reason: Reason, runtime: Runtime) -> bool:
        """Whether a restore that failed for this reason fails the task."""
        ...

    def caller(self, parts: TaskKeyParts, snapshot: StoredSnapshot, credential: Credential | None) -> Caller:
        """The snapshot's caller, with this credential, which its framework knows from now on too.

        Raises:
            SnapshotError: (``malformed``) the framework refuses it.
        """
        ...


class _Plain:
    """taskctx's own wire."""

    keeps_expired_tokens = True
    degraded: Reason | None = None
    parse = staticmethod(parse_task_key)
    sealing_key_id = staticmethod(attrgetter("codec.sealing_key_id"))

    def key(self, docket: Docket, task_key: str, parts: TaskKeyParts, runtime: Runtime) -> str:
        # the key's segments are quoted already: as keys.snapshot_key of its scope and id
        owner, _, _ = task_key.rsplit(":", 2)
        return docket.key(f"{runtime.settings.key_prefix}:task:{owner}:snapshot")

    def encode(self, values: Values, key: str, runtime: Runtime) -> bytes:
        return runtime.codec.encode(dump_json(values), key)

    def encode_less(self, key: str, runtime: Runtime) -> bytes | None:
        return None

    def decode(self, stored: bytes, key: str, runtime: Runtime) -> StoredSnapshot:
        return parse_stored(runtime.codec.decode(stored, key))

    def envelope(self, stored: bytes) -> bytes | None:
        return stored if stored.startswith(MAGIC) else None

    def lifetimes(self, snapshot: StoredSnapshot, runtime: Runtime) -> tuple[int, int] | None:
        return snapshot.ttl or runtime.settings.pending_ttl, runtime.settings.pending_ttl

    def fails_task(self, reason: Reason, runtime: Runtime) -> bool:
        return runtime.settings.fails_task(reason)

    def clear(self) -> None:
        """Taskctx's own caller is cleared anyway."""

    def caller(self, parts: TaskKeyParts, snapshot: StoredSnapshot, credential: Credential | None) -> Caller:
        return Caller(
            credential_source=None if credential is None else credential.present,
            headers=snapshot.http_headers or {},
            request_id=snapshot.origin_request_id,
            session_id=snapshot.session_id,
            anonymity_is_meant=snapshot.anonymity_is_meant is True,
        )


PLAIN: Wire = _Plain()
