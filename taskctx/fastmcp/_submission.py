"""In the server: FastMCP's capture and save, as operations of taskctx's."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from docket import Docket

from .._caller.carried import capture_carried
from .._caller.resets import Undo
from .._caller.trace_context import BAGGAGE, Baggage, current_baggage, current_trace, use_baggage
from .._snapshot.snapshot import TaskContextSnapshot, describe_capture, present_fields, saving
from .._transport import commands
from .._transport.deadline import bounded
from ..errors import CaptureError, Reason, SaveError
from ..operations import Capture, Save
from ..settings import Settings, current_settings
from ..telemetry.observe import docket_seen, observe
from . import _upstream
from ._rider import with_rider
from ._sealing import seal
from ._upstream import FastMCPSnapshot

_captured: ContextVar[tuple[FastMCPSnapshot, TaskContextSnapshot] | None] = ContextVar(
    "taskctx_fastmcp_captured", default=None
)
"""What was captured beside FastMCP's snapshot, until that very snapshot is saved."""


def capturing(theirs: classmethod[FastMCPSnapshot, Any, FastMCPSnapshot]) -> object:
    """FastMCP's ``TaskContextSnapshot.capture``, and our part with it."""

    def capture(cls: type[FastMCPSnapshot], *args: Any, **kwargs: Any) -> FastMCPSnapshot:
        docket = _upstream.submission_docket()
        docket_name = "" if docket is None else docket.name
        docket_seen(docket_name)
        _captured.set(None)
        try:
            with observe(Capture(docket_name=docket_name)) as operation:
                snapshot = theirs.__func__(cls, *args, **kwargs)
                settings, now = current_settings(), time.time()
                baggage = _baggage(snapshot, settings)
                ours = TaskContextSnapshot(
                    access_token_json=snapshot.access_token_json,
                    http_headers=snapshot.http_headers,
                    origin_request_id=snapshot.origin_request_id,
                    session_id=snapshot.session_id,
                    trace_context=current_trace() | baggage.carrier,
                    carried=capture_carried(),
                    captured_at=now,
                )
                describe_capture(operation, ours, headers_dropped=False, baggage_dropped=baggage.dropped)
                operation.credential_ttl = _credential_ttl(now)
        except CaptureError:
            if current_settings().on_save_failure == "raise":
                raise
            return theirs.__func__(cls, *args, **kwargs)
        _captured.set((snapshot, ours))
        return snapshot

    return classmethod(capture)


def saving_snapshots(_theirs: Callable[..., Any]) -> object:
    """In place of FastMCP's ``TaskContextSnapshot.save``: the same key and TTL, with our part in the value."""

    async def save(
        self: FastMCPSnapshot, docket: Docket, task_scope: str | None, task_id: str, ttl_seconds: int
    ) -> None:
        key = _upstream.snapshot_redis_key(docket, task_scope, task_id)
        try:
            with saving(Save(docket_name=docket.name, docket_task=self.owning_tool_name or "")) as operation:
                async with bounded():
                    value = await _stored_form(self, docket, key, ttl_seconds, operation)
                    await commands.put(docket, key, value, ttl_seconds)
        except (CaptureError, SaveError):
            if current_settings().on_save_failure == "raise":
                raise

    return save


async def _stored_form(snapshot: FastMCPSnapshot, docket: Docket, key: str, ttl: int, operation: Save) -> bytes:
    """FastMCP's part is stored whatever its size, as it would be without us; ours only if there is room."""
    settings = current_settings()
    text = snapshot.to_json()
    operation.ttl = ttl
    captured = _captured.get()
    if captured is None or captured[0] is not snapshot:
        # made by hand
        value = seal(text, key, settings)
    else:
        stored_at = await commands.server_time(docket)
        ours = captured[1]
        if here := current_trace():
            ours = replace(ours, trace_context=ours.trace_context | here)
        operation.fields = present_fields(ours)
        value = seal(with_rider(text, ours, stored_at=stored_at, ttl=ttl), key, settings)
    if len(value) > settings.max_snapshot_bytes:
        operation.failed(Reason.TOO_LARGE)
        value = seal(text, key, settings)
    operation.sizes.append(len(value))
    return value


def _credential_ttl(now: float) -> float | None:
    token = _upstream.get_access_token()
    return None if token is None or token.expires_at is None else token.expires_at - now


def _baggage(snapshot: FastMCPSnapshot, settings: Settings) -> Baggage:
    """The current baggage, or that of the HTTP request where no instrumentation has made it current."""
    baggage = current_baggage(settings.baggage_keys)
    header = (snapshot.http_headers or {}).get(BAGGAGE)
    if baggage.carrier or baggage.dropped or not header:
        return baggage
    with Undo() as undo:
        use_baggage({BAGGAGE: header}, undo)
        return current_baggage(settings.baggage_keys)
