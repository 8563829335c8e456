"""A server with the settings that one wants in production, and programs that do not outlive a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.support import Starter


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts programs that do not outlive the test."""
    starter = Starter(tmp_path)
    try:
        yield starter
    finally:
        starter.stop_all()
