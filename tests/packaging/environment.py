"""A virtual environment with nothing of ours in it, and nothing of the checkout's."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"

_OURS = ("PYTHON", "TASKCTX_", "DOCKET_", "OTEL_", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Environment:
    """A fresh virtual environment; programs of it run in a folder beside it."""

    folder: Path
    elsewhere: Path

    @classmethod
    def made(cls, python: Path, folder: Path) -> Environment:
        """By ``python -m venv``."""
        made = cls(folder / "venv", folder / "elsewhere")
        made.elsewhere.mkdir(parents=True)
        run([str(python), "-m", "venv", str(made.folder)], made.elsewhere).check_returncode()
        return made

    def install(self, *requirements: str, constrained: bool = True) -> None:
        """With the versions in constraints.txt, or those that pip chooses; and without a compiler: all comes as wheels."""
        options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        constraints = ["--constraint", str(CONSTRAINTS)] if constrained else []
        done = self.run("python", "-m", "pip", "install", *options, *constraints, *requirements)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment's, to its end."""
        return run([str(self.program(program)), *arguments], self.elsewhere)

    def program(self, name: str) -> Path:
        """Where a program of the environment's is."""
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin") / name


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """To its end, with nothing of this process's settings and paths."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment | {"COLUMNS": "200", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
