"""Errors of the command line: a sentence and a hint, and a traceback only with ``--debug``."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import typer

from taskctx.errors import TaskContextError

P = ParamSpec("P")
T = TypeVar("T")

DEBUG: Final = "--debug"
EXIT_CODE: Final = 2
debugging: ContextVar[bool] = ContextVar("taskctx_debugging", default=False)


class Problem(Exception):
    """A command cannot do its work.

    Attributes:
        hint: what to do about it, in a sentence.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


def politely(command: Callable[P, T]) -> Callable[P, T]:
    """Wrap a command so that any exception ends it with a sentence, a hint and exit code 2.

    The text of an unexpected exception is not shown: it may quote a caller's credentials.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise  # BrokenPipeError: the program that read the output, such as head, has ended
        except Exception as error:
            if debugging.get():
                raise
            what, hint = _in_words(error)
        typer.echo(f"{what}\n{hint}", err=True)
        raise typer.Exit(EXIT_CODE)

    return run


def _in_words(error: Exception) -> tuple[str, str]:
    match error:
        case Problem():
            return f"{error}.", error.hint
        case TaskContextError():
            return f"{error}.", "Correct that, or unset it, and try again."
        case UnicodeEncodeError():
            # such bytes come from the command line and the environment only: what is read elsewhere is decoded
            return (
                "an argument, or DOCKET_URL, holds bytes that are not UTF-8.",
                "Ids, keys, names of dockets and addresses are text: check what the shell puts there.",
            )
        case OSError(strerror=str(refusal)):
            return f"the system refuses what taskctx asks of it: {refusal}.", f"{DEBUG} shows what that is."
        case _:
            what = f"taskctx met an unexpected error ({type(error).__name__})."
            return (
                what,
                f"This is a bug: please report it, with what {DEBUG} shows when no secret is in that.",
            )
