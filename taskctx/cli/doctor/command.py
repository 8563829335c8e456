"""``taskctx doctor``: its options and its exit codes."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

import typer
from rich.console import Console

from .._problem import Problem
from ..operating.options import DEFAULT_URL, Metrics, Url
from .examination import Options, examine
from .finding import worst
from .report import findings_of, print_sections, sections_as_json


def doctor(
    url: Url = DEFAULT_URL,
    docket: Annotated[
        list[str] | None, typer.Option(help="Look at this docket only; may be repeated.", show_default=False)
    ] = None,
    metrics: Metrics = None,
    prometheus: Annotated[
        str | None, typer.Option(help="A Prometheus that should scrape all processes.", show_default=False)
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1000, help="How many keys of dockets to look at, about.")] = 200_000,
    since: Annotated[str, typer.Option(help="Leave out failures from before, as far as their time is known.")] = "1h",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Examines; the exit code is 0 when all is well, 1 when there are warnings, 2 when there are errors."""
    options = Options(url, docket or (), metrics or (), prometheus, limit, _seconds(since))
    sections = asyncio.run(examine(options))
    if as_json:
        typer.echo(sections_as_json(sections))
    else:
        print_sections(Console(highlight=False), sections)
    raise typer.Exit(int(worst(findings_of(sections))))


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(since: str) -> float:
    match = re.fullmatch(r"(\d+)([smhd])", since.strip())
    if match is None or int(match[1]) == 0:
        raise Problem("--since is no length of time", "One looks like 90s, 10m, 2h or 1d.")
    return float(int(match[1]) * _UNITS[match[2]])
