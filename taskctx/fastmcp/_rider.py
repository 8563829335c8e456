"""What taskctx adds to FastMCP's stored snapshot: one more member of its JSON object, which FastMCP ignores."""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import from_json

from .._snapshot.record import SCHEMA_VERSION, Record, dump_json, record_of
from .._snapshot.snapshot import TaskContextSnapshot
from ..errors import Reason, SnapshotError

MEMBER = "taskctx"


def with_rider(text: str, ours: TaskContextSnapshot, *, stored_at: float, ttl: int) -> str:
    """FastMCP's JSON with our part in it.

    Raises:
        CaptureError: our part has no JSON form.
    """
    rider = {
        "schema_version": SCHEMA_VERSION,
        "trace_context": ours.trace_context,
        "carried": ours.carried,
        "captured_at": ours.captured_at,
        "stored_at": stored_at,
        "ttl": ttl,
    }
    member = dump_json(rider).decode()
    # FastMCP's text stays as it is: an object with members, as tests/upstream/test_fastmcp.py holds
    return f'{text[:-1]}, "{MEMBER}": {member}}}'


def rider_of(text: str) -> Record | None:
    """Our part of a stored snapshot, or None where a process that is not instrumented wrote it.

    Raises:
        SnapshotError: ``malformed``, or ``schema_unsupported`` when a newer taskctx wrote it.
    """
    try:
        member = cast("dict[str, Any]", from_json(text)).get(MEMBER)
    except ValueError:
        # Python's JSON, which FastMCP reads it with, lets more pass
        raise SnapshotError(Reason.MALFORMED) from None
    return None if member is None else record_of(member)
