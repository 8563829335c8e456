"""The demo's report for people, at the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from taskctx.telemetry.names import RESTORE_DURATION

from .run import Facts
from .sighting import Kind

KIND_TITLES = {Kind.NOW: "at once", Kind.AHEAD: "scheduled ahead", Kind.RETRIED: "retried", Kind.PERPETUAL: "perpetual"}


def print_report(console: Console, facts: Facts) -> None:
    def line(title: str, text: str) -> None:
        console.print(f"  [bold]{title:<10}[/]{text}", soft_wrap=True)

    console.print(
        f"[green]✓[/] [bold]contexts intact[/] [bold green]{facts['contexts_intact']}[/]"
        f"   {facts['task_runs']} task runs compared in {facts['seconds']:.1f} s",
        soft_wrap=True,
    )
    kinds = facts["requests_by_kind"]
    counts = ", ".join(f"{kinds[kind]} {title}" for kind, title in KIND_TITLES.items() if kind in kinds)
    line("callers", f"{facts['callers']}, with tasks {counts}")
    line("queue", facts["note"] or facts["backend"])
    console.print()
    console.print(_indented(_by_worker(facts["workers"])))
    console.print()
    p50, p99 = (facts["restore_seconds"][name] * 1000 for name in ("p50", "p99"))
    line("restore", f"p50 {p50:.1f} ms   p99 {p99:.1f} ms   [dim]from {RESTORE_DURATION.name}[/]")
    rates = (f"{name} hits {_rate(**found)}" for name, found in facts["registry_lookups"].items())
    line("registry", "   ".join(rates))
    line("", "[dim]live objects stay in their process: workers elsewhere miss by design[/]")
    console.print()
    if tree := facts["trace"]["tree"]:
        line("trace", f"{facts['trace']['trace_id']}   [dim]one request's, begun by its caller[/]")
        console.print(_indented(_grow(Tree(_label(tree), guide_style="dim"), tree)))
        console.print()
    for index, url in enumerate(facts["scrape"]):
        line("" if index else "scrape", url)


def _by_worker(workers: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("worker", no_wrap=True)
    for title in ("pid", "task runs", "restored", "failed", "sessions found", "servers found"):
        table.add_column(title, justify="right", no_wrap=True)
    for worker in workers:
        counts = (worker[name] for name in ("pid", "task_runs", "restores_ok", "restores_not_ok"))
        found = (f"{each['hits']}/{each['lookups']}" for each in worker["registry_lookups"].values())
        table.add_row(worker["name"], *map(str, counts), *found)
    return table


def _rate(hits: int, lookups: int) -> str:
    return f"{hits / lookups:.0%} ({hits}/{lookups})" if lookups else "- (0/0)"


def _indented(thing: Table | Tree) -> Padding:
    return Padding(thing, (0, 0, 0, 2), expand=False)


def _grow(tree: Tree, span: dict[str, Any]) -> Tree:
    for child in span["children"]:
        _grow(tree.add(_label(child)), child)
    return tree


def _label(span: dict[str, Any]) -> Text:
    crosses, linked = span["kind"] in {"SERVER", "CONSUMER"}, span["joined_by"] == "link"
    return Text.assemble(
        ("⇢ " if linked else "", "cyan"),
        (span["name"], "bold" if crosses else ""),
        (f"  {span['process']}" if crosses else "", "cyan"),
        f"  attempt {span['attempt']}" if linked and span["attempt"] else "",
        (f"  {span['milliseconds']:.1f} ms", "dim"),
        ("  joined by link" if linked else "", "dim"),
    )
