"""One stack that the tests share, and clones for those that need another."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compose.engine import SEEN, Engine
from tests.compose.stack import Stack
from tests.stack.programs import orderly_end


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.found()


@pytest.fixture(scope="session")
def folder() -> Path:
    """The one whose files containers may mount."""
    if SEEN not in os.environ:
        pytest.fail("it is run by make compose-check, which starts the engine and has the images there", pytrace=False)
    return Path(os.environ[SEEN])


@pytest.fixture(scope="session")
def stack(engine: Engine, folder: Path) -> Iterator[Stack]:
    """Up, with load, and healthy; whoever changes that restores it."""
    with orderly_end(), _cloned(engine, folder) as stack:
        stack.up()
        yield stack


@pytest.fixture
def another(engine: Engine, folder: Path) -> Iterator[Callable[..., Stack]]:
    """Clones whose stacks are not up."""
    made: list[Stack] = []

    def clone(*, umask: int = 0o022, files: tuple[str, ...] = ()) -> Stack:
        made.append(Stack.cloned(engine, folder, umask=umask, files=files))
        return made[-1]

    yield clone
    for stack in made:
        stack.remove()


@contextmanager
def _cloned(engine: Engine, folder: Path) -> Generator[Stack]:
    stack = Stack.cloned(engine, folder)
    try:
        yield stack
    finally:
        stack.remove()
