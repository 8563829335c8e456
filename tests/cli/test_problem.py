"""What goes wrong on the command line is one sentence and a hint, never a traceback, unless it is asked for."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from taskctx.cli import app
from taskctx.cli._problem import Problem, politely
from tests.cli.operations import command
from tests.secrets import secret

BROKEN = {"TASKCTX_PENDING_TTL": "soon"}


async def test_a_setting_that_is_not_valid() -> None:
    """Its variable is named, its value is not quoted."""
    ended = await command("doctor", **BROKEN)
    assert ended.code == 2
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 2
    assert ended.err.startswith("TASKCTX_PENDING_TTL: ")
    assert "soon" not in ended.err


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_a_traceback_for_those_who_ask(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``--debug`` may stand before the command or behind it."""
    for name, value in BROKEN.items():
        monkeypatch.setenv(name, value)
    start = "from taskctx.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", start, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ConfigurationError" in ended.stderr


async def test_the_memory_of_another_process() -> None:
    """The doctor says that ``memory://`` is the memory of one process."""
    ended = await command("doctor", "--url", "memory://")
    assert ended.code == 2
    assert "memory:// is the memory of one process" in ended.out


async def test_a_url_that_is_none() -> None:
    """The message names the variable or the option that holds the wrong URL."""
    by_variable = await command("inspect", "x", DOCKET_URL="nonsense://x")
    assert by_variable.err.startswith("DOCKET_URL is no Redis URL.")
    by_option = await command("inspect", "x", "--url", "nonsense://x", DOCKET_URL="redis://localhost:1/0")
    assert by_option.err.startswith("--url is no Redis URL.")


def test_an_option_that_is_not_there() -> None:
    """Is said as ever."""
    ended = CliRunner().invoke(app, ["doctor", "--nonsense"])
    assert ended.exit_code == 2
    assert "--nonsense" in ended.output
    assert "Traceback" not in ended.output


def _ends(error: Exception) -> tuple[int, str]:
    broken = typer.Typer()

    def command() -> None:
        raise error

    broken.command()(politely(command))
    ended = CliRunner().invoke(broken)
    return ended.exit_code, ended.output


def test_a_problem_is_told_with_its_hint() -> None:
    """Two lines, and exit code 2."""
    assert _ends(Problem("nothing is there", "Put something there.")) == (
        2,
        "nothing is there.\nPut something there.\n",
    )


def test_what_nobody_foresaw_is_told_by_its_type() -> None:
    """The message has the exception's type without its text, which may hold credentials."""
    code, output = _ends(ValueError(secret("token")))
    assert code == 2
    assert output.startswith("taskctx met an unexpected error (ValueError).\nThis is a bug")


def test_what_the_system_refuses_is_told() -> None:
    """An error of the operating system is named, and is not called a bug."""
    assert _ends(OSError(errno.ENOSPC, "No space left on device", secret("path"))) == (
        2,
        "the system refuses what taskctx asks of it: No space left on device.\n--debug shows what that is.\n",
    )


@pytest.mark.parametrize("arguments", [["keygen"], ["dashboards", "list"]])
def test_a_reader_that_has_ended_is_no_error(arguments: list[str]) -> None:
    """The command writes no error when the reader of its output has ended."""
    read, write = os.pipe()
    os.close(read)
    start = "from taskctx.cli import main; main()"
    with os.fdopen(write) as pipe:
        ended = subprocess.run(
            [sys.executable, "-c", start, *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, "")


def test_an_exit_is_an_exit() -> None:
    """A command's own exit code is kept, and nothing is written."""
    assert _ends(typer.Exit(3)) == (3, "")
