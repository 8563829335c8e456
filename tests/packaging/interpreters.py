"""The Pythons of this machine: those on PATH, and those that pyenv installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

OLDEST, NEWEST = 11, 14
"""Minor versions of Python 3 that are looked for: from the oldest that taskctx takes on."""

VERSIONS = [f"3.{minor}" for minor in range(OLDEST, NEWEST + 1)]

_ASK = "import ensurepip, sys, venv; print(*sys.version_info[:2], sys.version_info.releaselevel)"


@cache
def find(version: str) -> Path | None:
    """A released Python of this version that can make virtual environments; None when there is none."""
    return next((path for path in chain(_on_path(version), _of_pyenv(version)) if _is(path, version)), None)


def _on_path(version: str) -> Iterator[Path]:
    """Every one, not only the first: pyenv's shims are there for versions that are not in force."""
    for folder in os.get_exec_path():
        found = shutil.which(f"python{version}", path=folder)
        if found:
            yield Path(found)


def _of_pyenv(version: str) -> Iterator[Path]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = (root / "versions").glob(f"{version}.*/bin/python{version}")
    return iter(sorted(found, key=_numbers, reverse=True))


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parents[1].name)]


def _is(path: Path, version: str) -> bool:
    """Whether it runs, and is what its name says."""
    asked = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, check=False, timeout=60)
    major, _, minor = version.partition(".")
    return asked.returncode == 0 and asked.stdout.split() == [major, minor, "final"]
