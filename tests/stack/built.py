"""Programs that are built of Go modules: once, then kept in ``~/.cache/taskctx`` (or under ``$XDG_CACHE_HOME``)."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL_GO = "get Go 1.25 or later from https://go.dev/dl"
BUILD_SECONDS = 1800
"""How long a step of a build may take: it downloads and compiles some hundred modules on whatever machine this is."""


def kept(*names: str) -> Path:
    """Where a program or a folder of programs is kept, whether it is there or not."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath("taskctx", *names)


def built(place: Path, build: Callable[[Path], Path]) -> Path:
    """What is kept at a place; where nothing is, what ``build`` makes in an empty folder comes there."""
    root = kept()
    root.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(root / f"{place.relative_to(root).parts[0]}.lock"):
        if not place.exists():
            with tempfile.TemporaryDirectory(prefix="build-", dir=root) as directory:
                new = build(Path(directory))
                place.parent.mkdir(parents=True, exist_ok=True)
                # at once or not at all: what is there is whole
                new.replace(place)
    return place


def run(directory: Path, *command: str, **environment: str) -> str:
    """What a step of a build prints; where it fails, so does the check."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"nothing was built: {' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@contextmanager
def _one_at_a_time(lock: Path) -> Generator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
