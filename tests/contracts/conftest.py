from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from docket import Docket

import taskctx
from taskctx._caller.carried import stop_carrying
from tests.helpers import LOCALE


@pytest.fixture(autouse=True)
def carried_locale() -> Iterator[None]:
    """A ContextVar of the user's rides along in every test of a contract."""
    taskctx.carry(LOCALE, name="locale", type=str | None)  # type: ignore[arg-type]
    yield
    stop_carrying("locale")


async def command(docket: Docket, *words: str) -> None:
    """Send a server command that Docket's client has no method for."""
    async with docket.redis() as redis:
        await cast("Any", redis).execute_command(*words)
