"""The replacement of a subcommand when its extra is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

ACCEPT_ANYTHING: Final[dict[str, Any]] = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Context settings with which the missing command accepts any options."""


def missing_extra(command: str, error: ModuleNotFoundError) -> Callable[[], None]:
    """A command that prints what to install, and exits with 2.

    Raises:
        ModuleNotFoundError: the missing module is part of taskctx, which is a bug.
    """
    module = (error.name or "").partition(".")[0]
    if module in {"", "taskctx"}:
        raise error

    def say_so() -> None:
        typer.echo(
            f"✗ taskctx {command} needs {error.name}, which is not installed: pip install 'taskctx[{command}]'",
            err=True,
        )
        raise typer.Exit(2)

    say_so.__name__ = command
    return say_so
