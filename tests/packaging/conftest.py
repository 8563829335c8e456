"""The distributions, built once, and an environment for each Python."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.environment import ROOT, run


@dataclass(frozen=True)
class Distributions:
    """What ``python -m build`` makes: an sdist, and from that a wheel."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return Distributions(*built(tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="session")
def wheel_of_the_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the checkout, without an sdist in between."""
    (wheel,) = built(tmp_path_factory.mktemp("wheel"), "--wheel")
    return wheel


def built(folder: Path, *options: str) -> list[Path]:
    """What a build leaves in the folder, the sdist first."""
    done = run([sys.executable, "-m", "build", "--outdir", str(folder), *options, str(ROOT)], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(folder.iterdir(), key=lambda path: path.suffix)
