"""The ``taskctx`` command.

Each subcommand is a separate module.  When the extra of a subcommand is not installed, the subcommand stays in
``taskctx --help``, and prints what to install when it is run.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from taskctx._version import __version__

from . import dashboards
from ._missing import ACCEPT_ANYTHING, missing_extra
from ._problem import DEBUG, debugging, politely
from .doctor.command import doctor
from .inspect.command import inspect
from .keygen import keygen
from .top.command import top

_demo_settings: dict[str, Any] = {}
try:
    from .demo.command import demo
except ModuleNotFoundError as _error:
    demo, _demo_settings = missing_extra("demo", _error), ACCEPT_ANYTHING

app: typer.Typer = typer.Typer(
    name="taskctx",
    help="Carries a request's context to the Docket worker that runs its task, and shows when it is lost.",
    no_args_is_help=True,
    add_completion=False,
    # a traceback with local variables would show a caller's credentials
    pretty_exceptions_enable=False,
)


def _say_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"taskctx {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[  # noqa: ARG001 - its callback prints the version
        bool, typer.Option("--version", help="Print the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show a traceback when something goes wrong; it may hold secrets.")
    ] = False,
) -> None:
    """The options of all commands."""
    debugging.set(debug)


app.command(
    help="Send requests to a real server with workers, and check that every task saw the caller who submitted it.",
    context_settings=_demo_settings,
)(politely(demo))
app.command(help="Look for whatever keeps tasks from their callers' context; nothing is written.")(politely(doctor))
app.command(
    help="Show whose a task is, what its snapshot holds and how long it lasts; secrets stay hidden.",
    # FastMCP's task ids are random, and one in 64 begins with a dash
    context_settings={"ignore_unknown_options": True},
)(politely(inspect))
app.command(help="Watch restores, failures, age and headroom by process, without Grafana.")(politely(top))
app.add_typer(dashboards.app, name="dashboards")
app.command(help="Print a new encryption key for TASKCTX_ENCRYPTION_KEYS.")(politely(keygen))


def main() -> None:
    """Run the command line; ``--debug`` may be at any position."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal whose encoding has no check mark must not end the command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = sys.argv[1:]
    if DEBUG in arguments:
        arguments = [DEBUG, *(argument for argument in arguments if argument != DEBUG)]
    app(args=arguments)
