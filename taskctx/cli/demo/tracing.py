"""The spans of all processes, and one request's spans as a tree: joined by parents, and across the queue by links."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from taskctx.telemetry.names import Attribute

from .tasks import BODY

Span = Tree = dict[str, Any]
"""A span in the form of OpenTelemetry's SDK, with its ``process``; a tree in the form of ``--json``."""

PATIENCE = 3.0
"""Seconds to wait for the last spans: a task reports before its span ends."""


async def find_tree(directory: Path, trace_id: str, runs: int) -> Tree | None:
    """The tree of one request with so many runs; after ``PATIENCE`` seconds, the incomplete tree."""
    deadline = time.monotonic() + PATIENCE
    while True:
        root = build_tree(read_spans(directory), trace_id)
        if (root is not None and _count(root, BODY) == runs) or time.monotonic() > deadline:
            return root
        await asyncio.sleep(0.1)


def read_spans(directory: Path) -> list[Span]:
    """The spans that the processes have written so far; an incomplete line is left for later."""
    return [
        # the SDK writes ids as 0x..., unlike headers
        json.loads(line.replace('"0x', '"')) | {"process": path.stem}
        for path in sorted(directory.glob("*.spans"))
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def build_tree(spans: Sequence[Span], trace_id: str) -> Tree | None:
    """The tree from the request's span (the first in its trace that submits a task) down to the task's spans."""
    spans = sorted(spans, key=lambda span: span["start_time"])
    ids = {span["context"]["span_id"] for span in spans}
    below: defaultdict[str | None, list[tuple[Span, str]]] = defaultdict(list)
    tops: list[Span] = []
    links = {span["context"]["span_id"]: _linked_in(span, trace_id) for span in spans}
    # a task's own span may link to Docket's span of the submission; its restore links to the save
    restores = {
        span["parent_id"]: links[span["context"]["span_id"]] for span in spans if span["name"] == "taskctx.restore"
    }
    for span in spans:
        linked = restores.get(span["context"]["span_id"]) or links[span["context"]["span_id"]]
        if span["parent_id"] in ids:
            below[span["parent_id"]].append((span, "parent"))
        elif span["context"]["trace_id"] == trace_id:
            tops.append(span)
        elif linked:
            below[linked[-1]].append((span, "link"))

    def node(span: Span, joined_by: str) -> Tree:
        children = below[span["context"]["span_id"]]
        # Docket's span has no attempt; the restore inside of it has one
        attempts = [each["attributes"].get(Attribute.DOCKET_ATTEMPT, 0) for each in (span, *(it for it, _ in children))]
        took = datetime.fromisoformat(span["end_time"]) - datetime.fromisoformat(span["start_time"])
        return {
            "name": span["name"],
            "process": span["process"],
            "kind": span["kind"].removeprefix("SpanKind."),
            "joined_by": joined_by,
            "trace_id": span["context"]["trace_id"],
            "milliseconds": round(took.total_seconds() * 1000, 3),
            "attempt": max(attempts) or None,
            "children": [node(child, by) for child, by in children],
        }

    # a FastMCP 3 client lists the tools in the same trace before it calls a tool
    trees = [node(top, "parent") for top in tops]
    return next((tree for tree in trees if _count(tree, "taskctx.save")), trees[0] if trees else None)


def _linked_in(span: Span, trace_id: str) -> list[str]:
    """The ids of the spans of a trace to which a span links."""
    return [link["context"]["span_id"] for link in span["links"] if link["context"]["trace_id"] == trace_id]


def _count(tree: Tree, name: str) -> int:
    return (tree["name"] == name) + sum(_count(child, name) for child in tree["children"])
