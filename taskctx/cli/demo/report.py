"""What the demo shows at the end: for people with rich, for programs as one JSON object."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from taskctx.telemetry.names import RESTORE_DURATION

from .metrics import REGISTRIES, hit_rate, quantile
from .run import Result
from .sighting import SERVER, Kind
from .tracing import Node

KIND_TITLES = {
    Kind.NOW: "at once",
    Kind.AHEAD: "scheduled ahead",
    Kind.RETRIED: "retried",
    Kind.PERPETUAL: "perpetual",
}
MARGIN = "  "
TITLE = 10
"""Columns left of what a line says."""

UNKNOWN = "-"


def print_result(console: Console, result: Result) -> None:
    def line(title: str, text: str) -> None:
        console.print(f"{MARGIN}[bold]{title:<{TITLE}}[/]{text}", soft_wrap=True)

    console.print(_verdict(result), soft_wrap=True)
    line("callers", f"{_callers(result)}, with tasks {_kinds(result)}")
    line("queue", result.cluster.backend.note or result.cluster.backend.title)
    console.print()
    console.print(_indented(_by_worker(result)))
    console.print()
    p50, p99 = (_milliseconds(quantile(of, result.scrapes)) for of in (0.5, 0.99))
    line("restore", f"p50 {p50}   p99 {p99}   [dim]from {RESTORE_DURATION.name}[/]")
    line("registry", "   ".join(_hit_rate(name, result) for name in REGISTRIES))
    line("", "[dim]live objects stay in their process: workers elsewhere miss by design[/]")
    console.print()
    if result.trace is not None:
        line("trace", f"{result.trace_of.trace_id}   [dim]one request's, begun by its caller[/]")
        console.print(_indented(_tree(result.trace)))
        console.print()
    for index, scrape in enumerate(result.scrapes):
        line("" if index else "scrape", scrape.instance)


def result_as_json(result: Result) -> dict[str, Any]:
    ledger, backend = result.ledger, result.cluster.backend
    return {
        "contexts_intact": f"{ledger.intact}/{len(result.requests)}",
        "intact": ledger.intact,
        "requests": len(result.requests),
        "callers": _callers(result),
        "requests_by_kind": Counter(str(request.kind) for request in result.requests),
        "task_runs": ledger.runs_seen,
        "seconds": round(result.seconds, 3),
        "backend": backend.title,
        "note": backend.note,
        "workers": [
            {
                "name": member.name,
                "pid": member.process.pid,
                "in_server": member.name == SERVER,
                "task_runs": ledger.runs_by_worker[member.name],
                "restores_ok": scrape.ok,
                "restores_not_ok": scrape.not_ok,
                "metrics_url": scrape.instance,
            }
            for member, scrape in zip(result.cluster.members, result.scrapes, strict=True)
        ],
        "restore_seconds": {
            "p50": quantile(0.5, result.scrapes),
            "p99": quantile(0.99, result.scrapes),
            "source": f"{RESTORE_DURATION.name}, scraped from all processes",
        },
        "registry_lookups": {
            name: dict(zip(("hits", "lookups"), hit_rate(name, result.scrapes), strict=True)) for name in REGISTRIES
        },
        "trace": {"trace_id": result.trace_of.trace_id, "tree": result.trace.as_json() if result.trace else None},
        "scrape": [scrape.instance for scrape in result.scrapes],
        "pids": {process.name: process.pid for process in result.cluster.processes},
    }


def _verdict(result: Result) -> Text:
    return Text.assemble(
        ("✓ ", "green"),
        ("contexts intact ", "bold"),
        (f"{result.ledger.intact}/{len(result.requests)}", "bold green"),
        f"   {result.ledger.runs_seen} task runs compared in {result.seconds:.1f} s",
    )


def _callers(result: Result) -> int:
    return len({request.headers["x-caller"] for request in result.requests})


def _kinds(result: Result) -> str:
    kinds = Counter(request.kind for request in result.requests)
    return ", ".join(f"{kinds[kind]} {title}" for kind, title in KIND_TITLES.items() if kinds[kind])


def _by_worker(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("worker", no_wrap=True)
    for title in ("pid", "task runs", "restored", "failed", "sessions found", "servers found"):
        table.add_column(title, justify="right", no_wrap=True)
    for member, scrape in zip(result.cluster.members, result.scrapes, strict=True):
        counts = (member.process.pid, result.ledger.runs_by_worker[member.name], scrape.ok, scrape.not_ok)
        found = (f"{hits}/{lookups}" for hits, lookups in map(scrape.found, REGISTRIES))
        table.add_row(member.name, *map(str, counts), *found)
    return table


def _hit_rate(registry: str, result: Result) -> str:
    hits, lookups = hit_rate(registry, result.scrapes)
    rate = f"{hits / lookups:.0%}" if lookups else UNKNOWN
    return f"{registry} hits {rate} ({hits}/{lookups})"


def _milliseconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds * 1000:.1f} ms"


def _indented(thing: Table | Tree) -> Padding:
    return Padding(thing, (0, 0, 0, len(MARGIN)), expand=False)


def _tree(root: Node) -> Tree:
    tree = Tree(_label(root), guide_style="dim")
    _grow(tree, root)
    return tree


def _grow(tree: Tree, node: Node) -> None:
    for child in node.children:
        _grow(tree.add(_label(child)), child)


def _label(node: Node) -> Text:
    span = node.span
    crosses = span.kind in {"SERVER", "CONSUMER"}
    return Text.assemble(
        ("⇢ " if node.linked else "", "cyan"),
        (span.name, "bold" if crosses else ""),
        (f"  {span.process}" if crosses else "", "cyan"),
        f"  attempt {node.attempt}" if node.linked and node.attempt else "",
        (f"  {span.milliseconds:.1f} ms", "dim"),
        ("  joined by link" if node.linked else "", "dim"),
    )
