"""The command as a whole: its version, and the two ways to start it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import taskctx

SCRIPT = ["-c", "from taskctx.cli import main; main()"]
MODULE = ["-m", "taskctx"]


def run(*arguments: str) -> tuple[int, str, str]:
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("start", [SCRIPT, MODULE], ids=["script", "module"])
def test_the_version(start: list[str]) -> None:
    """``--version`` prints the name and the version to stdout."""
    assert run(*start, "--version") == (0, f"taskctx {taskctx.__version__}\n", "")


def test_the_module_is_the_command() -> None:
    """``python -m taskctx`` works like ``taskctx``, with ``--debug`` at any position."""
    code, out, _ = run(*MODULE, "keygen", "--debug", "--id", "2026-11")
    assert code == 0
    assert out.startswith("2026-11:")


@pytest.mark.parametrize("module", ["httpx", "typer"])
def test_what_is_missing_is_told_alike(module: str) -> None:
    """Whether it is a subcommand's extra or what the whole command needs."""
    blocked = f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv = ['taskctx', 'demo']; "
    script = run("-c", f"{blocked}from taskctx.cli import main; main()")
    as_module = run("-c", f"{blocked}runpy.run_module('taskctx', run_name='__main__')")
    assert script[0] == as_module[0] != 0
    assert script[2].splitlines()[-1] == as_module[2].splitlines()[-1]
    assert module in script[2].splitlines()[-1]
