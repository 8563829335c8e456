"""The output for people: one line for each known fact about a task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from ..operating.seal import Sealer
from ..operating.words import duration, plain, size
from .view import HIDDEN, View

Line = tuple[str, str]

_WITHOUT_KEY_ID = {
    Sealer.NOT_SEALED.value: "nothing: it is plain",
    Sealer.TASKCTX.value: "taskctx; its key id cannot be read",
    Sealer.FASTMCP.value: "FastMCP's own key (FASTMCP_TASKS_ENCRYPTION_KEY)",
    Sealer.UNKNOWN.value: "unknown: it is no snapshot",
}


def print_view(console: Console, view: View, asked: str) -> None:
    """Show a task; its title is its id, or the given text where the id is not known."""
    console.print(Text(f"task {plain(view['task_id'] or asked)}", "bold"), soft_wrap=True)
    _print(console, _about(view))
    if view["snapshot"] is not None:
        console.print(Text("\nsnapshot", "bold"))
        _print(console, _snapshot(view["snapshot"], due_in=_due_in(view)))
    if "token" in view:
        console.print(Text("\ncaller", "bold"))
        _print(console, _caller(view))
        console.print(Text("\ntrace", "bold"))
        _print(console, _trace(view["trace"]))
    if view["meaning"]:
        console.print(Text(f"\n{view['meaning']}", "yellow"))


def _print(console: Console, lines: Iterator[Line]) -> None:
    """Print each entry on one line of any length, so that it can be copied from a narrow terminal."""
    shown = list(lines)
    width = max(len(name) for name, _ in shown)
    for name, text in shown:
        console.print(Text.assemble("  ", (f"{name:<{width}}", "dim"), "  ", plain(text)), soft_wrap=True)


def _about(view: View) -> Iterator[Line]:
    if view["docket"]:
        yield "docket", view["docket"]
    if view["task_id"] is not None:
        yield "scope", "(anonymous)" if view["task_scope"] is None else view["task_scope"]
    if view["redis_key"]:
        yield "redis key", view["redis_key"]
    for run in view["runs"]:
        yield "docket key", run["task_key"]
        due = run["due_in_seconds"]
        when = f"due in {duration(due)}" if due > 0 else f"due {duration(-due)} ago"
        yield "run", f"{run['state']}, {when}" + (f", on worker {run['worker']}" if run["worker"] else "")
    if not view["runs"]:
        yield "run", "Docket has no record of it (any more)"


def _snapshot(snapshot: View, due_in: float) -> Iterator[Line]:
    ttl = snapshot["ttl_left_seconds"]
    short = ", which ends before the task is due" if ttl is not None and ttl < due_in else ""
    yield "ttl left", "it never expires" if ttl is None else f"{duration(ttl)}{short}"
    if snapshot["age_seconds"] is not None:
        yield "age", duration(snapshot["age_seconds"])
    yield "size", size(snapshot["bytes"])
    yield "sealed by", snapshot["sealed_by"] or _WITHOUT_KEY_ID[snapshot["sealer"]]
    if snapshot["schema_version"] is not None:
        yield "schema", str(snapshot["schema_version"])


def _caller(view: View) -> Iterator[Line]:
    token = view["token"]
    if token is None:
        yield "token", "none"
    else:
        left = token["expires_in_seconds"]
        ends = "does not expire" if left is None else f"expires in {duration(left)}" if left > 0 else "has expired"
        yield "token", f"{token['token']}, {ends}"
        yield "client id", token["client_id"]
        yield "scopes", " ".join(token["scopes"]) or "none"
        yield "claims", _listed(token["claims"])
    yield "headers", _listed(view["headers"])
    yield "request id", view["request_id"] or "none"
    yield "session id", view["session_id"] or "none"
    yield "baggage", _listed(view["baggage"])
    yield "carried", _listed(view["carried"])
    if view["required"]:
        yield "required", ", ".join(view["required"])


def _trace(trace: View | None) -> Iterator[Line]:
    if trace is None:
        yield "trace id", "none: its submitter is not traced"
        return
    yield "trace id", f"{trace['trace_id']} ({'sampled' if trace['sampled'] else 'not sampled'})"
    yield "request", trace["traceql"]
    yield "its runs", trace["traceql_of_runs"]


def _listed(values: Mapping[str, Any]) -> str:
    """The names, with the values that are not hidden."""
    shown = (name if value == HIDDEN else f"{name}={_text(value)}" for name, value in sorted(values.items()))
    return ", ".join(shown) or "none"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _due_in(view: View) -> float:
    """Seconds until the next scheduled run; 0 where there is none."""
    return max((run["due_in_seconds"] for run in view["runs"] if run["state"] == "scheduled"), default=0.0)
