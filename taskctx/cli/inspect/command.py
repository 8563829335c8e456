"""``taskctx inspect``: its options and its exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from .._problem import Problem
from ..operating.options import DEFAULT_URL, Url
from ..operating.server import connected
from ..operating.words import plain
from .inspection import Inspection, inspect_task
from .report import print_view
from .search import Located, locate
from .view import meaning, view_of

NOT_FOUND = 1
WARNING = "The caller's credentials will be shown, and stay in whatever records this terminal. Go on?"
_SHOWN = 5


def inspect(
    task: Annotated[str, typer.Argument(help="A task id, a Docket task key, or a Redis key.", show_default=False)],
    url: Url = DEFAULT_URL,
    docket: Annotated[
        list[str] | None, typer.Option(help="Look on this docket only; may be repeated.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1000, help="How many keys with this id to look at, about.")] = 1_000_000,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the caller's token and all other values.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before revealing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON object.")] = False,
) -> None:
    """Show a task; the exit code is 0 for a snapshot that can be read, 1 where there is none, 2 for a problem."""
    if not task.strip():
        raise Problem("TASK is empty", "Give a task id, a Docket task key or a Redis key.")
    if reveal and not yes:
        typer.confirm(WARNING, abort=True, err=True)
    inspection = asyncio.run(_inspect(url, task, docket or (), limit))
    view = view_of(inspection, reveal=reveal)
    if as_json:
        typer.echo(json.dumps(view))
    else:
        print_view(Console(highlight=False), view, task)
    raise typer.Exit(NOT_FOUND if meaning(inspection) else 0)


async def _inspect(url: str, task: str, dockets: Sequence[str], limit: int) -> Inspection:
    async with connected(url) as server:
        found = await locate(server, task, dockets, limit)
        if len(found) > 1:
            raise _ambiguous(task, found)
        located = found[0] if found else _nowhere(dockets)
        return await inspect_task(server, located)


def _ambiguous(task: str, found: Sequence[Located]) -> Problem:
    names = "".join(f"\n  {plain(each.name)}" for each in found[:_SHOWN])
    more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Problem(
        f"{len(found)} tasks are called {task}", f"Give the Redis key of the one that is meant:{names}{more}"
    )


def _nowhere(dockets: Sequence[str]) -> Located:
    return Located(dockets[0] if len(dockets) == 1 else "", None, "")
