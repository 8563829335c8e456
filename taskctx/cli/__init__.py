"""The ``taskctx`` command.

Each subcommand is a module of its own.  One whose extra is not installed stays in ``taskctx --help``, and says what
to install when it is run.
"""

from __future__ import annotations

from typing import Any

import typer

from . import dashboards
from ._missing import ACCEPT_ANYTHING, missing_extra
from .keygen import keygen

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
    # a traceback with local variables would show somebody's credentials
    pretty_exceptions_enable=False,
)


app.command(
    help="Run the main job on real input, and check that every task saw the caller who submitted it.",
    context_settings=_demo_settings,
)(demo)
app.add_typer(dashboards.app, name="dashboards")
app.command(help="Print a new encryption key for TASKCTX_ENCRYPTION_KEYS.")(keygen)


def main() -> None:
    app()
