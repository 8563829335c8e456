"""``python -m benchmarks``: what is measured, and where the tables go."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from taskctx.cli.processes import ProcessError

from . import tables
from .campaign import about
from .children import ROOT, BenchmarkError, Children
from .pace import FULL, QUICK, SMOKE
from .variants import ALL, BY_NAME, STEPS, runnable


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds of fewer tasks.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="A handful of tasks: whether it works. No figures.")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="Have the tasks open their connections.")] = False,
    against: Annotated[str | None, typer.Option(help="Compare with this revision of taskctx, in one run.")] = None,
    where: Annotated[bool, typer.Option("--where", help="Measure where the time goes instead.")] = False,
    calls: Annotated[bool, typer.Option("--calls", help="Count the calls of one task instead.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Measure this variant only (may be repeated).")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the tables between their markers, in README.md and docs/cost.md.")
    ] = False,
    into: Annotated[Path, typer.Option(help="The folder of those two files.", file_okay=False)] = ROOT,
) -> None:
    """Measure what a context costs, beside Docket without context and beside FastMCP's own path."""
    pace = replace(SMOKE if smoke else QUICK if quick else FULL, cold=cold)
    name = 'make bench ARGS="--{}"'.format("calls" if calls else "where" if where else "against")
    if unknown := set(only or ()) - set(BY_NAME):
        raise typer.BadParameter(f"there is no {', '.join(unknown)} among {', '.join(BY_NAME)}")
    variants = runnable(STEPS if where else tuple(BY_NAME[each] for each in only or ()) or ALL)
    try:
        with Children() as children:
            heading = about(children, pace)
            if calls:
                texts = tables.calls(children)
            elif where:
                texts = tables.where(children, pace, variants)
            elif against:
                texts = tables.against(children, pace, variants, against)
            else:
                texts, name = tables.everything(children, pace, variants), "make bench"
        for page, text in texts.items():
            typer.echo(f"{heading}\n\n{text}\n")
            if write:
                _fill(into / page, name, f"{heading}\n\n{text}")
    except (BenchmarkError, ProcessError) as problem:
        typer.echo(f"✗ {problem}", err=True)
        raise typer.Exit(2) from None


def _fill(path: Path, name: str, text: str) -> None:
    filled = tables.fill(path.read_text("utf-8"), name, text)
    if filled is None:
        raise BenchmarkError(f"{path} has no place for the tables: a line <!-- {name}: begin -->, and below it its end")
    path.write_text(filled, "utf-8")


def _end(signum: int, _frame: object) -> None:
    sys.exit(128 + signum)  # so that what was started is stopped


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bench)
    app(prog_name="python -m benchmarks")
