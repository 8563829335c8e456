"""``taskctx demo``: its options, its exit codes, and its handling of signals."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..processes import ProcessError
from .cluster import DemoError
from .progress import Screen
from .report import print_report
from .run import run

INTACT, MISMATCH, PROBLEM = 0, 1, 2
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def demo(
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="How many requests to send.")] = 500,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes to start.")] = 3,
    url: Annotated[
        str | None,
        typer.Option(help="A Redis or Valkey server of yours. Without it, one is started.", show_default=False),
    ] = None,
    *,
    fastmcp: Annotated[
        bool, typer.Option("--fastmcp", help="Run a FastMCP server and its workers: callers are MCP clients.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave server and workers running until Ctrl-C, to look at their metrics.")
    ] = False,
) -> None:
    """Run the demo; the exit code is 0 when every context is intact, 1 when one is not, 2 when the demo cannot run."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)

    async def start(stack: AsyncExitStack) -> int:
        try:
            with Screen(err if as_json else out) as screen:
                facts = await run(stack, screen, requests=requests, workers=workers, url=url, fastmcp=fastmcp)
        except (DemoError, ProcessError) as problem:
            err.print(f"[red]✗[/] {escape(str(problem))}", soft_wrap=True)
            return PROBLEM
        if as_json:
            typer.echo(json.dumps(facts))
        if "problem" in facts:
            err.print(f"[red]✗[/] [bold]context lost[/]   {escape(facts['problem'])}", soft_wrap=True)
            return MISMATCH
        if not as_json:
            print_report(out, facts)
        if keep:
            err.print("\n  [bold]All of it is still running; Ctrl-C stops it.[/]")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        elif not as_json:
            out.print("            [dim]they stop now; with --keep they stay[/]")
        return INTACT

    raise typer.Exit(asyncio.run(_start_and_stop(start)))


async def _start_and_stop(start: Callable[[AsyncExitStack], Coroutine[Any, Any, int]]) -> int:
    """Run ``start`` in a task that a signal cancels, then stop all processes; returns the exit code."""
    received: list[int] = []
    async with AsyncExitStack() as stack:
        task = asyncio.ensure_future(start(stack))

        def interrupt(signum: int) -> None:
            received.append(signum)
            task.cancel()

        for signum in SIGNALS:
            # Windows has no signal handlers on event loops
            with suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(signum, interrupt, signum)
        with suppress(asyncio.CancelledError):
            return await task
    typer.echo("interrupted; everything is stopped", err=True)
    return 128 + received[0]
