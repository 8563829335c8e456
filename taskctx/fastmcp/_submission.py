"""In the server: FastMCP's capture and save are a taskctx submission, over FastMCP's wire."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from docket import Docket
from pydantic_core import PydanticSerializationError

from .._caller.caller import current_caller
from .._caller.resets import Resets
from .._caller.trace_context import BAGGAGE, Baggage, current_baggage, use_baggage
from .._runtime import current_settings
from .._snapshot.capture import Origin
from .._snapshot.keys import TaskKeyParts
from .._submit.submission import Submission
from ..errors import CaptureError, SaveError
from . import _upstream
from ._caller import current_credential
from ._upstream import FastMCPSnapshot, line
from ._wire import FASTMCPS, FastMCPWire

MakeSnapshot = Callable[[], FastMCPSnapshot]


class FastMCPOrigin(Origin):
    """An origin that reads the caller with FastMCP's own capture."""

    def __init__(self, make: MakeSnapshot) -> None:
        super().__init__()
        self._make = make
        self.snapshot: FastMCPSnapshot | None = None

    def read_caller(self) -> bool:
        # no local variable holds FastMCP's snapshot, because its repr shows all of its content
        with suppress(PydanticSerializationError):
            self.snapshot = self._make()
        if self.snapshot is None:
            # raises taskctx's own error about the token, outside of the block that caught pydantic's error
            current_credential()
        self.values = {name: getattr(self.snapshot, name) for name in FASTMCPS}
        token = _upstream.get_access_token()
        if token is None:
            self.caller = current_caller.get()
        self.expires_at = None if token is None else token.expires_at
        return False

    def baggage(self, keys: tuple[str, ...]) -> Baggage:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The current baggage, or the baggage header of the HTTP request where no instrumentation has read it."""
        baggage = current_baggage(keys)
        header = None if self.snapshot is None else (self.snapshot.http_headers or {}).get(BAGGAGE)
        if baggage.carrier or baggage.dropped or not header:
            return baggage
        with Resets() as resets:
            use_baggage({BAGGAGE: header}, resets)
            return current_baggage(keys)


_captured: ContextVar[FastMCPOrigin | None] = ContextVar("taskctx_fastmcp_captured", default=None)
"""The origin that was captured with FastMCP's snapshot, until this snapshot is saved."""


def capturing(original: classmethod[FastMCPSnapshot, Any, FastMCPSnapshot]) -> object:
    """Wraps FastMCP's ``TaskContextSnapshot.capture``: captures taskctx's part too."""

    def capture(cls: type[FastMCPSnapshot], *args: Any, **kwargs: Any) -> FastMCPSnapshot:
        docket = _upstream.submission_docket()
        origin = FastMCPOrigin(lambda: original.__func__(cls, *args, **kwargs))
        _captured.set(None)
        try:
            # FastMCP 3 does not give the tool's name
            origin.capture("" if docket is None else docket.name, kwargs.get("owning_tool_name") or "")
        except CaptureError as error:
            if current_settings().refuses_task(error.reason):
                raise
        else:
            _captured.set(origin)
        return origin.snapshot or original.__func__(cls, *args, **kwargs)

    return classmethod(capture)


def saving_snapshots(_original: Callable[..., Any]) -> object:
    """Replaces FastMCP's ``TaskContextSnapshot.save``: same key and TTL, but the value also holds taskctx's part."""

    async def save(
        self: FastMCPSnapshot, docket: Docket, task_scope: str | None, task_id: str, ttl_seconds: int
    ) -> None:
        submission = _submission_of(self, docket)
        del self  # error reporters send the locals of every frame that an exception passes
        parts = TaskKeyParts(task_scope, task_id, "", submission.name)
        submission.place_at(line.snapshot_redis_key(docket, task_scope, task_id), parts, ttl_seconds)
        try:
            await submission.save(submission.reserve)
        except (CaptureError, SaveError) as error:
            if current_settings().refuses_task(error.reason):
                raise

    return save


def _submission_of(snapshot: FastMCPSnapshot, docket: Docket) -> Submission:
    """The submission of the origin that was captured with this snapshot; another snapshot has no part of taskctx."""
    captured = _captured.get()
    origin = captured if captured is not None and captured.snapshot is snapshot else FastMCPOrigin(lambda: snapshot)
    # FastMCP 3's snapshot has no owning_tool_name
    tool = getattr(snapshot, "owning_tool_name", None) or ""
    return Submission(docket, tool, None, origin, unique=True, wire=FastMCPWire(snapshot))
