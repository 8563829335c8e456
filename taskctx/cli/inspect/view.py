"""The parts of a task to show: names and identities; other values only with ``--reveal``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace

from taskctx._caller.token import AccessToken, life_left
from taskctx._caller.trace_context import BAGGAGE, span_context
from taskctx._snapshot.snapshot import TaskContextSnapshot

from .inspection import Inspection, Opened, Run, Stored

HIDDEN = "(hidden)"
IDENTIFYING = ("iss", "sub", "aud", "azp", "client_id", "exp", "nbf", "iat")
"""Claims (RFC 7519 and OAuth) with the identity and the validity; of other claims only the name is shown."""

View = dict[str, Any]


def view_of(inspection: Inspection, *, reveal: bool) -> View:
    """The whole view, in the form of ``--json``."""
    located, stored = inspection.located, inspection.stored
    task = located.task
    view: View = {
        "docket": located.docket,
        "task_id": None if task is None else task.task_id,
        "task_scope": None if task is None else task.task_scope,
        "redis_key": located.redis_key or None,
        "runs": [_run(run, inspection.now) for run in inspection.runs],
        "snapshot": None if stored is None else _snapshot(stored, inspection.now),
        "meaning": meaning(inspection),
    }
    if stored is not None and stored.opened is not None:
        view |= _content(stored.opened, inspection.now, reveal=reveal)
    return view


def meaning(inspection: Inspection) -> str | None:
    """Why there is no readable snapshot, and what that means; None where there is one."""
    stored, located = inspection.stored, inspection.located
    if located.fastmcp and stored is not None:
        return "The snapshot is FastMCP's own, which is not looked into here."
    if stored is not None:
        return None if stored.refused is None else f"This process cannot read it: {stored.refused.explanation}."
    if located.task is None and inspection.runs:
        return "The task was added without taskctx.add: it never had a snapshot, and runs anonymous."
    if any(run.is_pending for run in inspection.runs):
        return (
            "The task waits, and its snapshot is gone or was never saved: it will run anonymous, or be failed "
            "(on_restore_failure). It expired in the backlog, or the server evicted it; taskctx doctor tells more."
        )
    if inspection.runs:
        return "The task has begun, and its snapshot is gone: that of a task that is done stays for completed_ttl."
    return (
        "Neither a snapshot nor a record is there. Both have expired, the task was never added, or it is on another "
        "docket, server or database, or under another TASKCTX_KEY_PREFIX."
    )


def traceql(trace_id: str) -> str:
    """A TraceQL query for the trace in which the task was submitted."""
    return f'{{trace:id="{trace_id}"}}'


def traceql_of_runs(trace_id: str) -> str:
    """A TraceQL query for the traces in which the task ran; they link to the trace of the submission."""
    return f'{{name="taskctx.restore" && link:traceID="{trace_id}"}}'


def _run(run: Run, now: float) -> View:
    return {
        "task_key": run.task_key,
        "function": run.function,
        "state": run.state,
        "due_in_seconds": round(run.due - now, 1),
        "worker": run.worker or None,
    }


def _snapshot(stored: Stored, now: float) -> View:
    opened = stored.opened
    written = None if opened is None else opened.snapshot.stored_at or opened.snapshot.captured_at
    return {
        "bytes": stored.size,
        "ttl_left_seconds": stored.ttl if stored.ttl >= 0 else None,
        "age_seconds": None if written is None else round(now - written, 1),
        "sealer": stored.seal.by.value,
        "sealed_by": stored.seal.key_id,
        "schema_version": None if opened is None else opened.snapshot.schema_version,
        "refused": None if stored.refused is None else stored.refused.value,
    }


def _content(opened: Opened, now: float, *, reveal: bool) -> View:
    snapshot = opened.snapshot
    return {
        "token": None if opened.token is None else _token(opened.token, now, reveal=reveal),
        "headers": _values(snapshot.http_headers or {}, reveal=reveal),
        "request_id": snapshot.origin_request_id,
        "session_id": _value(snapshot.session_id, reveal=reveal),
        "baggage": _values(_baggage(snapshot), reveal=reveal),
        "carried": _values(snapshot.carried, reveal=reveal),
        "required": snapshot.required,
        "trace": _trace(snapshot),
    }


def _token(token: AccessToken, now: float, *, reveal: bool) -> View:
    left = life_left(token, now)
    claims = token.claims or {}
    return {
        "token": _value(token.token, reveal=reveal),
        "client_id": token.client_id,
        "scopes": token.scopes,
        "expires_in_seconds": None if left is None else round(left),
        "claims": {name: _value(value, reveal=reveal or name in IDENTIFYING) for name, value in claims.items()},
    }


def _trace(snapshot: TaskContextSnapshot) -> View | None:
    found = span_context(snapshot.trace_context)
    if found is None:
        return None
    trace_id = trace.format_trace_id(found.trace_id)
    return {
        "trace_id": trace_id,
        "span_id": trace.format_span_id(found.span_id),
        "sampled": found.trace_flags.sampled,
        "traceql": traceql(trace_id),
        "traceql_of_runs": traceql_of_runs(trace_id),
    }


def _baggage(snapshot: TaskContextSnapshot) -> dict[str, str]:
    members = (member.partition("=") for member in snapshot.trace_context.get(BAGGAGE, "").split(","))
    return {name.strip(): value for name, _, value in members if name.strip()}


def _values(values: Mapping[str, object], *, reveal: bool) -> dict[str, object]:
    return {name: _value(value, reveal=reveal) for name, value in values.items()}


def _value(value: object, *, reveal: bool) -> object:
    return value if reveal or value is None else HIDDEN
