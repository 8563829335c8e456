"""The spans of all processes, and one request's as a tree: joined by parent, and across the queue by link."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taskctx.telemetry.names import Attribute

from .tasks import BODY

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
    links: tuple[tuple[str, str], ...]
    start: datetime
    end: datetime
    attempt: int | None

    @property
    def milliseconds(self) -> float:
        return (self.end - self.start).total_seconds() * 1000


@dataclass(frozen=True, slots=True)
class Node:
    """A span and what came of it; ``linked`` when a link joins it to the span above, not parenthood."""

    span: Span
    linked: bool
    children: tuple[Node, ...]

    @property
    def attempt(self) -> int | None:
        """Docket's span does not say which attempt it is; the restore within it does."""
        return self.span.attempt or next((child.span.attempt for child in self.children if child.span.attempt), None)

    def count(self, name: str) -> int:
        return (self.span.name == name) + sum(child.count(name) for child in self.children)

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.span.name,
            "process": self.span.process,
            "kind": self.span.kind,
            "joined_by": "link" if self.linked else "parent",
            "trace_id": self.span.trace_id,
            "milliseconds": round(self.span.milliseconds, 3),
            "attempt": self.attempt,
            "children": [child.as_json() for child in self.children],
        }


async def find_tree(directory: Path, trace_id: str, runs: int) -> Node | None:
    """The tree of one request, whose task ran so many times; as much of it as there is after a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        root = build_tree(read_spans(directory), trace_id)
        if (root is not None and root.count(BODY) == runs) or time.monotonic() > deadline:
            return root
        await asyncio.sleep(0.1)


def read_spans(directory: Path) -> list[Span]:
    """What the processes have written so far; a line being written is left for later."""
    return [
        _span(path.stem, json.loads(line))
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
        trace_id=_id(written["context"]["trace_id"]),
        span_id=_id(written["context"]["span_id"]),
        parent_id=_id(written["parent_id"]) if written["parent_id"] else None,
        links=tuple((_id(link["context"]["trace_id"]), _id(link["context"]["span_id"])) for link in written["links"]),
        start=datetime.fromisoformat(written["start_time"]),
        end=datetime.fromisoformat(written["end_time"]),
        attempt=written["attributes"].get(Attribute.DOCKET_ATTEMPT),
    )


def _id(written: str) -> str:
    return written.removeprefix("0x")


def build_tree(spans: Sequence[Span], trace_id: str) -> Node | None:
    """The tree from the request's span, the first in its trace, down to the task's."""
    by_id = {span.span_id: span for span in spans}
    tops = [span for span in spans if span.trace_id == trace_id and span.parent_id not in by_id]
    if not tops:
        return None
    children: dict[str, list[tuple[Span, bool]]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        if span.parent_id in by_id:
            children.setdefault(str(span.parent_id), []).append((span, False))
        elif target := _linked_to(span, trace_id):
            children.setdefault(target, []).append((span, True))

    def node(span: Span, *, linked: bool) -> Node:
        return Node(span, linked, tuple(node(child, linked=by) for child, by in children.get(span.span_id, ())))

    return node(min(tops, key=lambda span: span.start), linked=False)


def _linked_to(span: Span, trace_id: str) -> str | None:
    """The span of this trace that a span links to; the last link is the origin that taskctx adds to Docket's own."""
    return next((target for trace, target in reversed(span.links) if trace == trace_id), None)
