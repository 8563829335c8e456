"""The spans of all processes, and one request's as a tree: joined by parent, and across the queue by link."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taskctx.telemetry.names import Attribute

from .tasks import BODY

Tree = dict[str, Any]

PATIENCE = 3.0
"""Seconds for the last spans to be written: a task reports before its span ends."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span, as far as the tree needs it; ids are in hexadecimal."""

    process: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    links: list[tuple[str, str]]
    start: datetime
    end: datetime
    attempt: int | None


async def find_tree(directory: Path, trace_id: str, runs: int) -> Tree | None:
    """The tree of one request, whose task ran so many times; as much of it as there is after a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        root = build_tree(read_spans(directory), trace_id)
        if (root is not None and _count(root, BODY) == runs) or time.monotonic() > deadline:
            return root
        await asyncio.sleep(0.1)


def read_spans(directory: Path) -> list[Span]:
    """What the processes have written so far; a line being written is left for later."""
    return [
        # the SDK writes ids as 0x..., the headers that carry them do not
        _span(path.stem, json.loads(line.replace('"0x', '"')))
        for path in sorted(directory.glob("*.spans"))
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def _span(process: str, written: dict[str, Any]) -> Span:
    """From what OpenTelemetry's SDK makes of a span as JSON."""
    return Span(
        process=process,
        name=written["name"],
        kind=written["kind"].removeprefix("SpanKind."),
        trace_id=written["context"]["trace_id"],
        span_id=written["context"]["span_id"],
        parent_id=written["parent_id"],
        links=[(link["context"]["trace_id"], link["context"]["span_id"]) for link in written["links"]],
        start=datetime.fromisoformat(written["start_time"]),
        end=datetime.fromisoformat(written["end_time"]),
        attempt=written["attributes"].get(Attribute.DOCKET_ATTEMPT),
    )


def build_tree(spans: Sequence[Span], trace_id: str) -> Tree | None:
    """The tree from the request's span, the first in its trace, down to the task's, as ``--json`` prints it."""
    by_id = {span.span_id: span for span in spans}
    tops = [span for span in spans if span.trace_id == trace_id and span.parent_id not in by_id]
    if not tops:
        return None
    below: defaultdict[str | None, list[tuple[Span, str]]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start):
        # of the links to this trace, the last is the origin that taskctx adds to Docket's own
        linked = [target for trace, target in span.links if trace == trace_id]
        if span.parent_id in by_id:
            below[span.parent_id].append((span, "parent"))
        elif linked:
            below[linked[-1]].append((span, "link"))

    def node(span: Span, joined_by: str) -> Tree:
        children = below[span.span_id]
        return {
            "name": span.name,
            "process": span.process,
            "kind": span.kind,
            "joined_by": joined_by,
            "trace_id": span.trace_id,
            "milliseconds": round((span.end - span.start).total_seconds() * 1000, 3),
            # Docket's span does not say which attempt it is; the restore within it does
            "attempt": next((each.attempt for each in (span, *(child for child, _ in children)) if each.attempt), None),
            "children": [node(child, by) for child, by in children],
        }

    return node(min(tops, key=lambda span: span.start), "parent")


def _count(tree: Tree, name: str) -> int:
    return (tree["name"] == name) + sum(_count(child, name) for child in tree["children"])
