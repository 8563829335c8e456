"""In the worker: what FastMCP's stored snapshot of a task holds, opened, checked and made current."""

from __future__ import annotations

import time
from dataclasses import replace

from docket import Docket

from .._caller.caller import Caller, constant_token, lowered
from .._caller.token import AccessToken, token_from_json
from .._snapshot.disguise import is_fernet
from .._snapshot.keys import TaskKeyParts
from .._snapshot.record import Record
from .._snapshot.snapshot import TaskContextSnapshot, present_fields
from .._transport import commands
from .._transport.deadline import bounded
from .._worker.credential import usable_token
from .._worker.restoration import Fetched, Restored, usable_carried
from ..errors import Reason, SnapshotError
from ..operations import Restore
from ..settings import Settings
from . import _upstream
from ._caller import SeenHeaders, request_id
from ._rider import rider_of
from ._sealing import unseal
from ._upstream import FastMCPSnapshot


class SnapshotReader:
    """Reads one task's snapshot."""

    def __init__(self, here: Docket, parts: TaskKeyParts, operation: Restore, settings: Settings) -> None:
        self._docket = here
        self._parts = parts
        self._operation = operation
        self._settings = settings
        self._protected = False
        self._by_fastmcp = False

    def fails_task(self, reason: Reason) -> bool:
        """FastMCP's contract, and ours where it is stricter."""
        if self._by_fastmcp and reason in (Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY):
            _upstream.logger.error(
                "A task's snapshot is sealed with another FASTMCP_TASKS_ENCRYPTION_KEY than this process has. "
                "Every server and worker of the queue needs the same; the task fails rather than run as nobody."
            )
            return True
        return self._protected or self._settings.fails_task(reason)

    async def find(self) -> Restored:
        """Fetch, open and check the snapshot; then FastMCP remembers it and makes its caller current.

        The ``refresh_token`` hook is asked for a new token in place of one that expired, which FastMCP itself drops.
        FastMCP's getters give the new one too; the headers stay as they were sent, the old ``authorization`` with them.
        """
        self._protected = True  # until the codec is known: FastMCP fails a task whose key is misconfigured
        self._protected = _upstream.snapshot_codec().protected
        operation, parts = self._operation, self._parts
        async with bounded():
            theirs, fetched = await self._fetch()
        snapshot = fetched.snapshot
        stored = token_from_json(snapshot.access_token_json)
        # FastMCP keeps no expired token, whatever ``on_expired_token`` says
        token = await usable_token(stored, parts.task_scope, operation, self._settings, may_keep=False)
        carried = usable_carried(snapshot, operation)
        _apply(theirs if token is stored else _with_token(theirs, token))
        _upstream.remember_snapshot(parts.task_id, theirs)
        caller = Caller(
            token_source=constant_token(token),
            headers=SeenHeaders(),
            request_id=request_id(lowered(snapshot.http_headers), snapshot.origin_request_id),
            session_id=snapshot.session_id,
        )
        return Restored(fetched, caller, carried)

    async def _fetch(self) -> tuple[FastMCPSnapshot, Fetched]:
        operation, parts = self._operation, self._parts
        key = _upstream.snapshot_redis_key(self._docket, parts.task_scope, parts.task_id)
        stored = await commands.fetch(self._docket, key)
        if stored is None:
            raise SnapshotError(Reason.MISSING)
        self._by_fastmcp = is_fernet(stored.value)
        operation.size = len(stored.value)
        text = unseal(stored.value, key, self._settings, operation)
        theirs, fields = _parsed(text)
        rider = self._rider(text)
        await self._measure(stored.ttl, rider)
        snapshot = _joined(fields, rider)
        operation.fields = present_fields(snapshot)
        operation.origin = snapshot.trace_context
        return theirs, Fetched(snapshot, key, stored.ttl, time.monotonic())

    def _rider(self, text: str) -> Record | None:
        """Our part.  FastMCP's is restored without it when it cannot be read."""
        try:
            rider = rider_of(text)
        except SnapshotError as error:
            self._operation.degraded(error.reason)
            return None
        self._operation.schema_version = None if rider is None else rider.schema_version
        return rider

    async def _measure(self, ttl: int, rider: Record | None) -> None:
        """Age, and the TTL that what remains is a part of: FastMCP renews it to its full length."""
        operation = self._operation
        operation.ttl_remaining = ttl if ttl >= 0 else None
        if rider is not None and rider.stored_at is not None and rider.ttl is not None:
            operation.age = max(0.0, await commands.server_time(self._docket) - rider.stored_at)
            operation.ttl = max(ttl, rider.ttl)


def _with_token(theirs: FastMCPSnapshot, token: AccessToken | None) -> FastMCPSnapshot:
    return replace(theirs, access_token_json=None if token is None else token.model_dump_json())


def _apply(theirs: FastMCPSnapshot) -> None:
    """Make a snapshot's caller FastMCP's current one.

    Raises:
        SnapshotError: (``malformed``) FastMCP refuses the token.
    """
    try:
        _upstream.apply_snapshot(theirs)
    except Exception:  # noqa: BLE001 - pydantic quotes the token
        raise SnapshotError(Reason.MALFORMED) from None


def _parsed(text: str) -> tuple[FastMCPSnapshot, Record]:
    """FastMCP's snapshot, as it reads it, and its fields checked, so that nothing can go wrong once they take effect.

    Raises:
        SnapshotError: (``malformed``) FastMCP cannot make sense of it.
    """
    try:
        theirs = FastMCPSnapshot.from_json(text)
        fields = {name: getattr(theirs, name) for name in _SHARED_FIELDS}
        return theirs, Record.model_validate(fields)
    except Exception:  # noqa: BLE001 - their code, and their JSON: whatever it raises may quote the caller's token
        raise SnapshotError(Reason.MALFORMED) from None


_SHARED_FIELDS = ("access_token_json", "http_headers", "origin_request_id", "session_id")


def _joined(theirs: Record, rider: Record | None) -> TaskContextSnapshot:
    ours = rider or Record()
    return TaskContextSnapshot(
        access_token_json=theirs.access_token_json,
        http_headers=theirs.http_headers,
        origin_request_id=theirs.origin_request_id,
        session_id=theirs.session_id,
        trace_context=ours.trace_context or {},
        carried=ours.carried or {},
        captured_at=ours.captured_at,
        schema_version=ours.schema_version,
    )
