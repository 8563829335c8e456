"""``python -m benchmarks``: its options, and where the result goes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .breakdown import run_breakdown
from .campaign import run
from .children import BenchmarkError
from .pace import FULL, QUICK, SMOKE
from .readme import fill
from .rendering import markdown, show

WIDTH = 200
"""Columns for the tables where the output is no terminal."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes instead of ten.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Everything once, with a handful of tasks: whether it works. No figures.")
    ] = False,
    where: Annotated[
        bool, typer.Option("--where", help="Measure where the time goes instead: step by step, and in instructions.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    readme: Annotated[
        Path | None,
        typer.Option(help="Put the tables into this file, between its two markers.", dir_okay=False, exists=True),
    ] = None,
) -> None:
    """Measure what taskctx costs: ratios to Docket without it, to FastMCP's own path, and to bare SET and GET."""
    err = Console(stderr=True, highlight=False)
    try:
        with err.status("starting") as status:
            measure, pace = run_breakdown if where else run, SMOKE if smoke else QUICK if quick else FULL
            result = measure(pace, lambda what: status.update(f"measuring: {what}"))
        if readme is not None:
            fill(readme, markdown(result))
    except BenchmarkError as problem:
        err.print(f"[red]✗[/] {problem}", soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        out = Console(highlight=False)
        show(out if out.is_terminal else Console(highlight=False, width=WIDTH), result)


def main() -> None:
    # so that what was started is stopped
    signal.signal(signal.SIGTERM, _end)
    app(prog_name="python -m benchmarks")


def _end(signum: int, _: object) -> None:
    sys.exit(128 + signum)
