"""``taskctx top``: its options, and the loop over frames."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from .._problem import Problem
from ..operating.options import Metrics
from .frame import frame
from .source import Endpoints, Prometheus, Source

NOTHING_SEEN = 1


def top(
    metrics: Metrics = None,
    prometheus: Annotated[
        str | None, typer.Option(help="A Prometheus that scrapes the processes.", show_default=False)
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once, print that, and end.")] = False,
) -> None:
    """Watch until Ctrl-C; with ``--once`` the exit code is 1 where every process is down, or no process is known."""
    source = _source(metrics, prometheus)
    console = Console(highlight=False)
    if once:
        comparison = asyncio.run(source.compare())
        console.print(frame(comparison))
        raise typer.Exit(NOTHING_SEEN if all(each.down is not None for each in comparison.now) else 0)
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(source, console, interval))


def _source(metrics: list[str] | None, prometheus: str | None) -> Source:
    if metrics and prometheus is not None:
        raise Problem(
            "--metrics and --prometheus exclude each other",
            "Give the processes' endpoints, or the Prometheus that scrapes them.",
        )
    if metrics and prometheus is None:
        return Endpoints(metrics)
    if prometheus is not None:
        return Prometheus(prometheus)
    raise Problem(
        "what to look at must be named, in one of two ways",
        "Give the processes' endpoints (--metrics worker-1:9100 --metrics worker-2:9100), or --prometheus URL.",
    )


async def _watch(source: Source, console: Console, interval: float) -> None:
    """Show frames: on a terminal each replaces the last one; elsewhere, or where TERM is dumb, it is printed below."""
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            console.print(await _next(source))
            await asyncio.sleep(interval)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(await _next(source), refresh=True)
            await asyncio.sleep(interval)


async def _next(source: Source) -> RenderableType:
    """The next frame, or the reason why it cannot be shown."""
    try:
        return frame(await source.compare())
    except Problem as problem:
        return Text(f"{problem}. {problem.hint}", "red")
