"""The distributions, built once, and an environment for each Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.release import built


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
